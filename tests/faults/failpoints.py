"""R2: the process dies at each named failpoint, and nothing that was acknowledged is lost.

The names are found in the source. Those of the store, the uploads and the blobs are reached by ``lives.py`` in a forked process,
which costs little enough to die at each of them again and again; those of an attempt by a real server (``at_work.py``).
A round is: live until the failpoint kills, judge what is left, live on to the end, judge again.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import random
import re
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import alembic.command
import alembic.script
import structlog

import orchestrator
from orchestrator import failpoints
from tests.faults.broken import break_it
from tests.faults.judging import acknowledged, judge
from tests.faults.lives import Done, Life, live_all, lives

T = TypeVar("T")
LIVES = 6
SEEDS = 5  # of lives, in turn
SERVER = "attempt."  # names that begin so are a real server's
ROLLOUTS = "rollout."  # and these are of the steps of rollouts (``rollouts.py``)
RECLAIM = "store.reclaim."
FORKED = (alembic.command, alembic.script)  # imported once, before the forks
MEMORY = "/dev/shm"  # a dead process leaves its writes with the kernel, wherever they go
_REACH = re.compile(r"failpoints\.reach\(\s*\"([\w.]+)\"")
_AROUND = re.compile(r"\bat=\"([\w.]+)\"")  # a transaction: a point before its commit, and one behind


def names() -> list[str]:
    """Every failpoint of the source."""
    found = set[str]()
    for path in Path(orchestrator.__file__).parent.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        found |= set(_REACH.findall(text))
        found |= {f"{name}.{side}" for name in _AROUND.findall(text) for side in ("before", "after")}
    return sorted(found)


@dataclass
class Outcome:
    """How often the process died at each point, and what it broke."""

    deaths: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Lived:
    """A process that lived: what it told, how often it came by each point, and how it ended (negative: a signal)."""

    marks: list[str]
    status: int
    text: str = ""


def count(seed: int) -> Counter[str]:
    """How often an undisturbed process comes by each point."""
    with tempfile.TemporaryDirectory(prefix="failpoints-", dir=MEMORY) as folder:
        return in_child(lambda: _counted(Path(folder) / "data", lives(seed, LIVES)))


def play(points: Iterable[str], times: int, seed: int, fault: str = "") -> Outcome:
    """Die at each of ``points`` so many times. ``fault``: of a broken store."""
    began, outcome, dice = time.monotonic(), Outcome(), random.Random(seed)
    points = list(points)
    seen = {} if fault else {life_seed: count(life_seed) for life_seed in range(seed, seed + min(times, SEEDS))}
    for turn in range(times):
        for point in points:
            life_seed, passes = _passing(point, seed, turn, seen) if seen else (seed + turn % SEEDS, 3)
            if not passes:
                outcome.broken.append(f"{point}: nothing comes by")
                continue
            died, broken = die(point, dice.randint(1, passes), life_seed, fault)
            outcome.deaths[point] = outcome.deaths.get(point, 0) + died
            outcome.broken += [f"{point}: {text}" for text in broken]
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


def _passing(point: str, seed: int, turn: int, seen: Mapping[int, Counter[str]]) -> tuple[int, int]:
    """This turn's lives, or the next that come by the point, and how often they do."""
    for at in range(turn, turn + len(seen)):
        life_seed = seed + at % len(seen)
        if passes := seen[life_seed][point]:
            return life_seed, passes
    return seed, 0


def die(point: str, nth: int, seed: int, fault: str = "") -> tuple[bool, list[str]]:
    """One round: whether the process died at the point, and what that broke."""
    all_lives = lives(seed, LIVES)
    with tempfile.TemporaryDirectory(prefix="failpoints-", dir=MEMORY) as folder:
        data = Path(folder) / "data"
        earlier: list[str] = []
        if point.startswith(RECLAIM):  # it needs something to take back
            earlier = _live(data, all_lives, "store.commit_segment.after:2", fault).marks
        first = _live(data, all_lives, f"{point}:{nth}", fault)
        if first.status != -signal.SIGKILL:
            return False, [f"the process left with {first.status} instead of dying: {first.text}"]
        broken = in_child(lambda: asyncio.run(judge(data, all_lives, acknowledged([*earlier, *first.marks]))))
        second = _live(data, all_lives, "", fault)
        if second.status:
            return True, [*broken, f"it cannot go on: {second.text}"]
        heard = acknowledged([*earlier, *first.marks, *second.marks])
        return True, broken + in_child(lambda: asyncio.run(judge(data, all_lives, heard, over=True)))


def _live(data: Path, all_lives: Sequence[Life], failpoint: str, fault: str) -> Lived:
    return lived(lambda done: live_all(data, list(all_lives), done), failpoint, fault)


def lived(live: Callable[[Done], Coroutine[Any, Any, None]], failpoint: str = "", fault: str = "") -> Lived:
    """``live`` in a child, which tells through a pipe what is acknowledged, and dies at ``failpoint``."""
    marks_out, marks_in = os.pipe()
    child = os.fork()
    if not child:
        os.close(marks_out)

        def life() -> None:
            if fault:
                break_it(fault)
            failpoints.arm(failpoint)
            asyncio.run(live(lambda mark: _tell(marks_in, mark)))

        _end_child(life, lambda error: _tell(marks_in, f"! {type(error).__name__}: {error}"))
    os.close(marks_in)
    with os.fdopen(marks_out) as pipe:
        told = pipe.read().splitlines()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return Lived([mark for mark in told if mark[0] != "!"], status, " ".join(mark for mark in told if mark[0] == "!"))


def _counted(data: Path, all_lives: list[Life]) -> Counter[str]:
    seen: Counter[str] = Counter()
    failpoints.reach = lambda name: seen.update([name])
    asyncio.run(live_all(data, all_lives, lambda _: None))
    return seen


def in_child(act: Callable[[], T]) -> T:
    """``act`` in a forked process: this one stays without threads, so that it may fork again. ``AssertionError`` if it fails."""
    out, into = os.pipe()
    child = os.fork()
    if not child:
        os.close(out)
        _end_child(lambda: _send(into, (True, act())), lambda error: _send(into, (False, repr(error))))
    os.close(into)
    with os.fdopen(out, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    assert data, "the child died"
    fine, result = pickle.loads(data)
    assert fine, result
    return result  # type: ignore[no-any-return]


def _end_child(act: Callable[[], object], failed: Callable[[BaseException], object]) -> None:
    """Run ``act`` and leave this process without anything that its parent would do in the end."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    status = 0
    try:
        act()
    except BaseException as error:
        status = 1
        failed(error)
    finally:
        os._exit(status)


def _send(fd: int, value: object) -> None:
    with os.fdopen(fd, "wb") as pipe:
        pipe.write(pickle.dumps(value))


def _tell(fd: int, mark: str) -> None:
    os.write(fd, f"{mark}\n".encode())


def summary(outcome: dict[str, object], wanted: Sequence[str], times: int) -> str:
    """One line for the promise."""
    deaths, broken = outcome["deaths"], outcome["broken"]
    assert isinstance(deaths, dict)
    assert isinstance(broken, list)
    full = sum(deaths.get(name, 0) >= times for name in wanted)
    return (
        f"R2: died {sum(deaths.values())} times, {full} of {len(wanted)} failpoints x {times}: {len(broken)} violations"
    )
