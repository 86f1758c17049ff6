"""Measure throughput, cost and latency against their limits and peers (``make bench``).

    python -m tests.benchmarks [--rounds 5] [--seconds 10] [--only P1,P5] [--sizes 720p,1080p] [--out ops/] [--quick]

Writes ``performance.md`` (its generated part) and ``performance.svg`` into ``--out``, and prints the same table. Run it on
a machine that does nothing else; how much others took is recorded all the same.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Annotated

import structlog
import typer
from rich.console import Console

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # every contender's, before any of them imports ONNX Runtime

from orchestrator.cli.loop import keep_freed_memory
from tests.benchmarks import machine, page
from tests.benchmarks.contenders import Contenders
from tests.benchmarks.figures import Figures
from tests.benchmarks.plot import draw
from tests.benchmarks.rounds import Bench, Plan
from tests.media.clips import cache_dir

GOALS = ("P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P10", "P13")
SIZES = ("720p", "1080p")
PAGE, PLOT = "performance.md", "performance.svg"
EMPTY = f"# Performance\n\n{page.BEGIN}\n{page.END}\n"

console = Console(soft_wrap=True, highlight=False)


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds; a ratio is the median over them.")] = 5,
    seconds: Annotated[float, typer.Option(min=1, help="Least length of a run.")] = 10.0,
    only: Annotated[str, typer.Option(help="Goals to measure, with commas between.")] = ",".join(GOALS),
    sizes: Annotated[str, typer.Option(help="Heights for P1 and P2.")] = ",".join(SIZES),
    out: Annotated[Path, typer.Option(help="Folder of the page and its plot.")] = Path("ops"),
    quick: Annotated[bool, typer.Option(help="One short round at 720p: shows that the bench works, no more.")] = False,
) -> None:
    """Measure, write the page, print the table."""
    plan = Plan(
        _choice(only, GOALS, "--only"), seconds, tuple(s for s in SIZES if s in _choice(sizes, SIZES, "--sizes"))
    )
    if quick:
        rounds, plan = 1, Plan(plan.goals, min(seconds, 2.0), ("720p",), (0, 2))
    figures, facts = asyncio.run(_measure(plan, rounds))
    out.mkdir(parents=True, exist_ok=True)
    draw(figures.rows, out / PLOT)
    target = out / PAGE
    text = target.read_text() if target.exists() else EMPTY
    target.write_text(page.replace(text, page.section(figures.rows, facts, PLOT)))
    console.print(page.table(page.HEAD, page.rows(figures.rows)), markup=False)


async def _measure(plan: Plan, rounds: int) -> tuple[Figures, dict[str, str]]:
    keep_freed_memory()  # as the client of the command line does
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # the table is the output
    cache_dir().mkdir(parents=True, exist_ok=True)
    figures = Figures()
    load = os.getloadavg()[0]
    with (
        tempfile.TemporaryDirectory(dir=cache_dir(), prefix="bench-") as folder,
        Contenders(Path(folder)) as contenders,
    ):
        bench = Bench(plan, contenders, lambda line: console.print(line, markup=False))
        bench.prepare()
        for number in range(rounds):
            console.rule(f"round {number + 1} of {rounds}")
            await bench.round(number, figures)
        return figures, machine.facts(rounds, plan.seconds, load, contenders.others)


def _choice(text: str, known: tuple[str, ...], option: str) -> frozenset[str]:
    chosen = frozenset(part.strip() for part in text.split(",") if part.strip())
    if not chosen or not chosen <= set(known):
        raise typer.BadParameter(f"choose among {', '.join(known)}, got {text!r}", param_hint=option)
    return chosen


if __name__ == "__main__":
    typer.run(main)
