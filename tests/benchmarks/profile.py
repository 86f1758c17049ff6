"""Where each CPU millisecond goes: the processes of a warm service under Linux ``perf``, library by library.

    python -m tests.benchmarks.profile [SECONDS]      # tables in Markdown; needs perf, and the right to use it

CPU milliseconds are those that the kernel counts for each kind of process; ``perf``'s samples say which share of them was spent where.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path

import structlog

from tests.benchmarks import footage, page
from tests.benchmarks.contenders import Contenders
from tests.benchmarks.cpu import kind, tree
from tests.benchmarks.service import Analysed
from tests.media.clips import cache_dir

RATE = 499  # samples per second and core
PARTS = (  # the first that fits
    ("decoding", r"libavcodec|libavformat|libavutil|libx26|libdav1d|libvpx"),
    ("scaling", r"libswscale"),
    ("model", r"onnxruntime"),
    ("gRPC", r"cygrpc|libgrpc"),
    ("Triton", r"triton|libevent|libprotobuf"),
    ("database", r"sqlite"),
    ("numpy", r"numpy|_multiarray|openblas|cv2"),
    ("kernel", r"kernel|vmlinux|\[k"),
    ("copies, memory", r"libc\.so|libc-|ld-linux"),
    ("Python", r"python|\.cpython-|\[unknown\]|\.so"),
)
HEAD = ("process", "part", "CPU ms", "share")
LEAST = 0.005  # of all; what is less is summed up


class Watched:
    """Context manager: samples all processes below ``root`` meanwhile. ``shares``: samples by kind of process and part."""

    def __init__(self, root: int, folder: Path) -> None:
        self._root, self._file = root, folder / "perf.data"
        self._kinds: dict[int, str] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on)
        self.shares: Counter[tuple[str, str]] = Counter()

    def __enter__(self) -> Watched:
        command = ["perf", "record", "-a", "-q", "-F", str(RATE), "-o", str(self._file)]
        self._perf = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._perf.terminate()
        self._perf.wait()
        self.shares = read(report(self._file), self._kinds)

    def _look_on(self) -> None:
        while not self._over.wait(0.2):
            for process in tree(self._root):
                name = "orchestrator" if process.pid == self._root else kind(process.arguments)
                with suppress(OSError):  # it may be gone
                    for thread in os.listdir(f"/proc/{process.pid}/task"):
                        self._kinds.setdefault(int(thread), name)


def report(file: Path) -> str:
    """``perf``'s samples by thread and library, one ``COUNT;TID:NAME;LIBRARY`` a line."""
    command = [
        "perf",
        "report",
        "-i",
        str(file),
        "--stdio",
        "-n",
        "-t",
        ";",
        "--sort",
        "pid,dso",
        "-F",
        "sample,pid,dso",
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def read(text: str, kinds: dict[int, str]) -> Counter[tuple[str, str]]:
    """Samples by kind of process and part, of the threads in ``kinds`` alone. Raises ``RuntimeError`` without any."""
    samples: Counter[tuple[str, str]] = Counter()
    for line in text.splitlines():
        found = re.match(r"\s*(\d+)\s*;\s*(\d+):[^;]*;\s*(.+?)\s*$", line)
        if found and int(found[2]) in kinds:
            samples[kinds[int(found[2])], part(found[3])] += int(found[1])
    if not samples:
        raise RuntimeError("perf saw nothing of the service: may it be used here?")
    return samples


def part(library: str) -> str:
    """What ``library`` does."""
    return next((name for name, pattern in PARTS if re.search(pattern, library)), "other")


def cells(analysed: Analysed, shares: Counter[tuple[str, str]], units: float) -> list[tuple[str, ...]]:
    """Rows of the table: CPU milliseconds per unit."""
    totals = Counter[str]()
    for (process, _), count in shares.items():
        totals[process] += count
    spent = {
        (process, what): analysed.kinds[process] * 1e3 / units * count / totals[process]
        for (process, what), count in shares.items()
        if process in analysed.kinds
    }
    whole = sum(spent.values())
    shown = Counter[tuple[str, str]]()
    for (process, what), value in spent.items():
        shown[(process, what) if value >= LEAST * whole else ("others", "")] += value
    rows = [(*name, f"{value:.2f}", f"{value / whole:.1%}") for name, value in shown.most_common()]
    return [*rows, ("all", "", f"{whole:.2f}", "100.0%")]


async def main(seconds: float = 20.0) -> None:
    """Profile labels on every frame of 720p, and the default profile on the busy clip."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with (
        tempfile.TemporaryDirectory(dir=cache_dir(), prefix="bench-") as name,
        Contenders(Path(name)) as contenders,
    ):
        folder = Path(name)
        street, busy = footage.base(footage.STREET_720), footage.busy_base(folder)
        footage.loop(street, 1, folder / "warm.mp4")
        footage.loop(street, -(-int(120 * seconds) // 336), folder / "street.mp4")
        footage.loop(busy, -(-int(4 * seconds * footage.RATE) // 602), folder / "busy.mp4")
        for title, clip, profile in (
            ("labels, 720p, every frame: per frame", "street.mp4", "labels0"),
            ("default profile, 720p, cuts every 2 s: per second of media", "busy.mp4", "default"),
        ):
            server = await contenders.service(profile)
            with Watched(server.pid, folder) as watched:
                analysed = await server.analyze(folder / clip, profile)
            units = analysed.run.frames if profile == "labels0" else analysed.media_seconds
            sys.stdout.write(f"{title}\n\n{page.table(HEAD, cells(analysed, watched.shares, units))}\n\n")


if __name__ == "__main__":
    asyncio.run(main(*map(float, sys.argv[1:])))
