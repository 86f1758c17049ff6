"""The fault harnesses in full: ``python -m tests.faults [R1 R2 R3 R4 R5 R11 R16 R19 backup] [--out FILE] [--seed N] [--minutes M]``.

Each part's outcome is a line of JSON in FILE, and a part that is there already is not run again: so an interrupted run goes on,
and several runs (or machines, with other seeds) add up. In the end there is one line for each promise, and the exit status tells
whether all were kept.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from tests.faults import (
    at_work,
    backups,
    drains,
    failpoints,
    fills,
    histories,
    kills,
    powerloss,
    rollouts,
    submits,
    upgrades,
)
from tests.faults.following import References
from tests.faults.serving import lasting_triton

ROUNDS, EMBEDDED = 20, 6  # of R1; how many of them kill Triton too
ANALYSES, KILLS = 10, 50  # of a round
TIMES = 20  # at each failpoint
LOSSES, TAPES = 1000, 5
HISTORIES, PARTS = 5000, 10  # on each database
Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a promise that is run at once."""

    promise: str
    name: str
    run: Callable[[], Line]


def parts(seed: int) -> Iterator[Part]:
    """Everything, in the order in which it is run."""
    yield Part("R3", f"seed {seed}", lambda: asyncio.run(powerloss.play(LOSSES, seed, TAPES)).as_json())
    yield Part("R2", f"store, seed {seed}", lambda: failpoints.play(of_lives(), TIMES, seed).as_json())
    yield Part("R2", f"rollouts, seed {seed}", lambda: rollouts.play(of_rollouts(), TIMES).as_json())
    yield Part("R2", f"server, seed {seed}", lambda: asyncio.run(_at_work(seed)).as_json())
    yield Part("R4", f"seed {seed}", lambda: asyncio.run(_submits(seed)).as_json())
    yield Part("R11", f"seed {seed}", lambda: asyncio.run(_fills(seed)).as_json())
    yield Part("backup", f"seed {seed}", lambda: asyncio.run(_backups(seed)).as_json())
    yield Part("R16", f"seed {seed}", lambda: asyncio.run(drains.play(drains.Plan(seed))).as_json())
    yield Part("R19", f"seed {seed}", lambda: asyncio.run(upgrades.play(upgrades.Plan())).as_json())
    for database in histories.DATABASES:
        for number in range(seed * 1000, seed * 1000 + PARTS):
            yield Part("R5", f"{database}, seed {number}", partial(_histories, database, number))
    unkilled = References()
    for index in range(ROUNDS):
        plan = kills.Plan(seed * 1000 + index, ANALYSES, KILLS, embedded=index >= ROUNDS - EMBEDDED)
        yield Part("R1", f"seed {plan.seed}", partial(_kills, plan, unkilled))


def of_lives() -> list[str]:
    return [name for name in failpoints.names() if not name.startswith((failpoints.SERVER, failpoints.ROLLOUTS))]


def of_rollouts() -> list[str]:
    return [name for name in failpoints.names() if name.startswith(failpoints.ROLLOUTS)]


def of_server() -> list[str]:
    return [name for name in failpoints.names() if name.startswith(failpoints.SERVER)]


def _kills(plan: kills.Plan, unkilled: References) -> Line:
    return asyncio.run(kills.play(plan, unkilled=unkilled)).as_json()


async def _at_work(seed: int) -> failpoints.Outcome:
    async with lasting_triton(kills.MODELS) as triton:
        return await at_work.play(of_server(), TIMES, seed, triton.address)


async def _submits(seed: int) -> submits.Outcome:
    async with lasting_triton(()) as triton:
        return await submits.play(submits.Plan(seed, submits=10_000, ids=500, kills=20), triton.address)


async def _fills(seed: int) -> fills.Outcome:
    async with lasting_triton(kills.MODELS) as triton:
        return await fills.play(fills.Plan(seed, fills=20), triton.address)


def _histories(database: str, seed: int) -> Line:
    return histories.play_anew(database, HISTORIES // PARTS, seed).as_json()


async def _backups(seed: int) -> backups.Outcome:
    async with lasting_triton(kills.MODELS) as triton:
        return await backups.play(backups.Plan(seed), triton.address)


def report(lines: Sequence[Line]) -> Iterator[str]:
    """One line for each promise."""
    by: dict[str, list[Line]] = {}
    for line in lines:
        by.setdefault(line["promise"], []).append(line["outcome"])
    for promise, over in (("R1", kills), ("R5", histories)):
        if promise in by:
            yield over.summary(by[promise])
    if "R2" in by:
        deaths: dict[str, int] = {}
        for each in by["R2"]:
            for name, number in each["deaths"].items():
                deaths[name] = deaths.get(name, 0) + number
        broken = [text for each in by["R2"] for text in each["broken"]]
        yield failpoints.summary({"deaths": deaths, "broken": broken}, failpoints.names(), TIMES)
    alone = (
        ("R3", powerloss),
        ("R4", submits),
        ("R11", fills),
        ("R16", drains),
        ("R19", upgrades),
        ("backup", backups),
    )
    for promise, module in alone:
        for each in by.get(promise, ()):
            yield module.summary(each)


def main() -> int:
    """Run what is missing and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("promises", nargs="*", default=["R1", "R2", "R3", "R4", "R5", "R11", "R16", "R19", "backup"])
    parser.add_argument("--out", type=Path, default=Path("faults.jsonl"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no part after so long")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    began = time.monotonic()
    for part in parts(options.seed):
        if time.monotonic() - began > options.minutes * 60:
            break
        known = {(line["promise"], line["part"]) for line in read(options.out)}
        if part.promise not in options.promises or (part.promise, part.name) in known:
            continue
        _say(f"{time.strftime('%H:%M:%S')} {part.promise} {part.name} ...")
        line: Line = {"promise": part.promise, "part": part.name, "outcome": part.run()}
        with options.out.open("a", encoding="utf-8") as out:
            out.write(json.dumps(line) + "\n")
        for text in line["outcome"]["broken"][:10]:
            _say(f"  {text}")
    lines = [line for line in read(options.out) if line["promise"] in options.promises]
    for text in report(lines):
        _say(text)
    return int(any(line["outcome"]["broken"] for line in lines))


def read(path: Path) -> list[Line]:
    """The outcomes so far."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
