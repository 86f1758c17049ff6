"""What metrics and logs cost (at most 1 % of a job's CPU): the same job by the service as it is, JSON lines and a scrape every five seconds
included, and by one that counts and logs nothing.

    python -m tests.benchmarks.telemetry [--rounds 8] [--profile default]

Two figures. The ratio of whole jobs, in alternating rounds, holds everything and the machine's noise, which is larger than what is looked
for. The account multiplies how often each thing was told in a job by what telling it takes: it is exact, and holds no cache misses.
"""

from __future__ import annotations

import asyncio
import io
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import httpx
import structlog
import typer
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from orchestrator import logs
from orchestrator.adapters.telemetry.prometheus import PrometheusTelemetry
from orchestrator.core.jobs import AnalysisState
from orchestrator.pipeline.telemetry import Worked
from tests.benchmarks import page
from tests.benchmarks.service import Service, running, serve_command
from tests.media.clips import cache_dir
from tests.media.composite import build_composite

SCRAPE_SECONDS = 5.0
REPEATS = 2000
LIMIT = 0.01
console = Console(soft_wrap=True, highlight=False)


def main(
    rounds: Annotated[int, typer.Option(min=1)] = 8,
    profile: Annotated[str, typer.Option()] = "default",
) -> None:
    """Measure, and say it as a table in Markdown."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix="bench-") as name:
        asyncio.run(_measure(Path(name), rounds, profile))


async def _measure(folder: Path, rounds: int, profile: str) -> None:
    clip = folder / "clip.mp4"
    build_composite(clip)
    socket = folder / "http"
    told = serve_command(f"unix:{folder}/with", folder, folder)
    silent = [
        sys.executable,
        "-m",
        "tests.benchmarks.without_telemetry",
        *serve_command(f"unix:{folder}/without", folder, folder)[1:],
    ]
    settings = {"REELSIFT_HTTP_LISTEN": f"unix:{socket}", "REELSIFT_LOG_JSON": "true"}
    log = folder / "with.log"
    with (
        running(told, f"unix:{folder}/with", log, settings) as telling,
        running(silent, f"unix:{folder}/without", folder / "without.log") as deaf,
    ):
        for each in (telling, deaf):
            await _cpu(each, clip, profile)  # models are loaded, pages are touched
        ratios: list[float] = []
        jobs: list[float] = []
        before, lines = _counted(_scraped(socket)), _lines(log)
        with _scraping(socket) as scrapes:
            for number in range(rounds):
                seconds: dict[int, float] = {}
                for each in (telling, deaf) if number % 2 else (deaf, telling):
                    seconds[each.pid] = await _cpu(each, clip, profile)
                jobs.append(seconds[deaf.pid])
                ratios.append(seconds[telling.pid] / seconds[deaf.pid])
                console.print(
                    f"round {number + 1}: {seconds[telling.pid]:.2f} s with, {seconds[deaf.pid]:.2f} s without"
                )
            body = _scraped(socket)
        counted = {name: (value - before.get(name, 0)) / rounds for name, value in _counted(body).items()}
        counted["log lines"] = (_lines(log) - lines) / rounds
        counted["scrapes"] = scrapes() / rounds
    job = statistics.median(jobs)
    units = _units()
    rows = [
        (
            name,
            f"{counted[name]:.0f}",
            f"{1e6 * unit:.1f}",
            f"{1e3 * counted[name] * unit:.2f}",
            f"{100 * counted[name] * unit / job:.4f}",
        )
        for name, unit in units.items()
    ]
    total = sum(counted[name] * unit for name, unit in units.items())
    rows.append(("all", "", "", f"{1e3 * total:.2f}", f"{100 * total / job:.4f}"))
    console.print(page.table(("told", "times a job", "us each", "ms a job", "% of the job's CPU"), rows), markup=False)
    spread = f"{min(ratios):.3f} .. {max(ratios):.3f}"
    quartiles = statistics.quantiles(ratios, n=4) if rounds > 1 else [ratios[0]] * 3
    console.print(f"a job: {job:.2f} CPU s (median of {rounds}), {_seconds(clip):.0f} s of media, profile {profile}")
    console.print(
        f"with / without: median {statistics.median(ratios):.4f}, quartiles {quartiles[0]:.3f} {quartiles[2]:.3f}, {spread}"
    )
    if total / job > LIMIT:
        raise SystemExit(f"metrics and logs take {total / job:.2%} of a job's CPU, more than {LIMIT:.0%}")


async def _cpu(each: Service, clip: Path, profile: str) -> float:
    """CPU seconds of one job, those of the client left out."""
    done = await each.analyze(clip, profile)
    return sum(seconds for name, seconds in done.kinds.items() if name != "client")


def _seconds(clip: Path) -> float:
    import av

    with av.open(str(clip)) as container:
        return (container.duration or 0) / 1e6


def _lines(log: Path) -> int:
    return log.read_bytes().count(b"\n")


def _scraped(socket: Path) -> str:
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://reelsift") as client:
        return client.get("/metrics").raise_for_status().text


@contextmanager
def _scraping(socket: Path) -> Iterator[Callable[[], int]]:
    """Scrape as Prometheus would; yields how often that was."""
    over = threading.Event()
    done = 0

    def scrape() -> None:
        nonlocal done
        while not over.wait(SCRAPE_SECONDS):
            _scraped(socket)
            done += 1

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield lambda: done
    finally:
        over.set()
        thread.join()


_TOTALS = {
    "reelsift_inference_requests_total": "inferences",
    "reelsift_segments_total": "segments",
    "reelsift_requests_total": "calls",
    "reelsift_analyses_ended_total": "analyses",
}


def _counted(body: str) -> dict[str, float]:
    """How often each thing was told."""
    found = dict.fromkeys(_TOTALS.values(), 0.0)
    for family in text_string_to_metric_families(body):
        for sample in family.samples:
            if sample.name in _TOTALS:
                found[_TOTALS[sample.name]] += sample.value
    # Each request of a model is noted as a stage, and so are the batch around it and the wait for its frames; a segment notes its making
    # and its commit.
    found["stages"] = 3 * found["inferences"] + 3 * found["segments"]
    return found


def _units() -> dict[str, float]:
    """Seconds that it takes to tell each thing once."""
    telemetry = PrometheusTelemetry()
    output = io.StringIO()
    logs.configure("info", as_json=True, stream=output)
    log = structlog.get_logger("orchestrator.api.interceptors")

    def call() -> None:
        telemetry.calling("grpc", +1)
        telemetry.calling("grpc", -1)
        telemetry.called("grpc", "GetAnalysis", "OK", 0.01)

    def line() -> None:
        output.seek(0)
        log.info(
            "grpc.call", method="/reelsift.v1/GetAnalysis", analysis_id="0" * 32, code="OK", reason="", duration_ms=1.5
        )

    units = {
        "inferences": _timed(lambda: telemetry.inferred("labels", "answered", 0.02)),
        "stages": _timed(lambda: telemetry.spent("infer/labels", 0.02)),
        "segments": _timed(lambda: telemetry.committed(0.004)),
        "calls": _timed(call),
        "analyses": _timed(lambda: telemetry.ended(AnalysisState.FAILED, "MEDIA_UNREADABLE", Worked(1.0))),
        "log lines": _timed(line),
        "scrapes": _timed(lambda: telemetry.page(""), 50),
    }
    structlog.reset_defaults()
    return units


def _timed(do: Callable[[], object], repeats: int = REPEATS) -> float:
    """Seconds for one, the best of five rounds."""
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(repeats):
            do()
        best = min(best, (time.perf_counter() - began) / repeats)
    return best


if __name__ == "__main__":
    typer.run(main)
