"""Our service as a user runs it: a ``reelsift serve`` process of its own, asked over gRPC."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from orchestrator.api.client import AnalysisOptions, connect
from tests.benchmarks.cpu import by_kind, settle, tree_cpu
from tests.benchmarks.figures import Run

START_SECONDS = 120.0
STOP_SECONDS = 60.0
ANALYSIS_SECONDS = 3600.0
# Near-duplicates are looked at anew, or else frames of a loop would be answered without any work.
PROFILE = "description = 'benchmark'\nmax_segment = {window}\n[analyzers.labels]\nfps = {fps}\nreuse = false\n"
PROFILE += "keyframes = {keyframes}\n"


@dataclass(frozen=True, slots=True)
class Analysed:
    """A finished analysis: frames that the model answered, media seconds, CPU seconds by kind of process, messages, and its id."""

    run: Run
    media_seconds: float
    kinds: dict[str, float]
    messages: int = 0
    id: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    """A running server. The client is this very process, and its CPU time counts."""

    pid: int
    address: str

    async def analyze(self, clip: Path, profile: str, *, calm: bool = True) -> Analysed:
        """Analyse ``clip``, once the server has come to rest if ``calm``; time runs from the call to the last message."""
        if calm:
            settle(self.pid)
        frames, media_ns, messages, analysis = 0, 0, 0, ""
        kinds = by_kind(self.pid)
        async with connect(self.address) as client:
            wall, cpu = time.perf_counter(), tree_cpu(self.pid) + time.process_time()
            options = AnalysisOptions(profile=profile, timeout=ANALYSIS_SECONDS, ignore_known=True)
            async for response in client.analyze_path(str(clip), options):
                messages += bool(response.sequence)
                analysis = response.analysis_id
                for annotation in response.segment.annotations:
                    if annotation.analyzer == "labels":
                        frames += annotation.frames_analyzed
                if response.HasField("finished"):
                    media_ns = response.finished.media_ns
                    if response.finished.partial:
                        raise RuntimeError(f"frames are missing: {response.finished.ledger}")
            wall, cpu = time.perf_counter() - wall, tree_cpu(self.pid) + time.process_time() - cpu
        used = {name: seconds - kinds.get(name, 0.0) for name, seconds in by_kind(self.pid).items()}
        used["client"] = max(0.0, cpu - sum(used.values()))
        return Analysed(Run(frames, wall, cpu), media_ns / 1e9, used, messages, analysis)

    async def first_segment(self, clip: Path, profile: str, *, stay: float = 0.0) -> float:
        """Seconds from connecting to the first segment; the rest is cancelled, after ``stay`` seconds."""
        settle(self.pid)
        async with connect(self.address) as client:
            began = time.perf_counter()
            options = AnalysisOptions(
                profile=profile, timeout=ANALYSIS_SECONDS, ignore_known=True, cancel_on_disconnect=True
            )
            async with aclosing(client.analyze_path(str(clip), options)) as responses:
                async for response in responses:
                    if response.HasField("segment"):
                        seconds = time.perf_counter() - began
                        await asyncio.sleep(stay)
                        return seconds
        raise RuntimeError("the analysis ended without a segment")

    async def pauses(self, clip: Path, profile: str) -> list[float]:
        """Seconds before each segment of an analysis of ``clip``: since the call, then since the segment before."""
        async with connect(self.address) as client:
            options = AnalysisOptions(profile=profile, timeout=ANALYSIS_SECONDS, ignore_known=True)
            last, found = time.perf_counter(), []
            async for response in client.analyze_path(str(clip), options):
                if response.HasField("segment"):
                    now = time.perf_counter()
                    found.append(now - last)
                    last = now
            return found


def write_profile(folder: Path, name: str, fps: int, window: float = 10.0, *, keyframes: bool = False) -> str:
    """A profile that asks for labels alone; returns its name."""
    text = PROFILE.format(fps=fps, window=window, keyframes=str(keyframes).lower())
    (folder / f"{name}.toml").write_text(text)
    return name


def serve_command(address: str, profiles: Path, root: Path) -> list[str]:
    """The service as it is shipped."""
    program = str(Path(sys.executable).with_name("reelsift"))
    return [program, "serve", "--listen", address, "--profile-dir", str(profiles), "--root", str(root)]


def without_triton_command(address: str, profiles: Path, root: Path) -> list[str]:
    """The same service with ONNX Runtime inside (see ``without_triton.py``)."""
    return [sys.executable, "-m", "tests.benchmarks.without_triton", address, str(profiles), str(root)]


@contextmanager
def running(
    command: Sequence[str], address: str, log_file: Path, settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Service]:
    """Start a server, wait until it takes calls, end it politely. Raises ``RuntimeError`` with the end of its log."""
    folder = tempfile.TemporaryDirectory(prefix="reelsift-bench-")
    own = {"REELSIFT_DATA_DIR": folder.name, "REELSIFT_HTTP_LISTEN": "", **settings}
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | own)
    try:
        socket_file = Path(address.removeprefix("unix:"))
        deadline = time.monotonic() + START_SECONDS
        while not socket_file.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the server did not start: {log_file.read_text()[-2000:]}")
            time.sleep(0.1)
        yield Service(process.pid, address)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        folder.cleanup()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))
