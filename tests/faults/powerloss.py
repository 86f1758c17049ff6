"""R3: what was acknowledged survives the loss of power.

A process lives some analyses (``lives.py``) on the real store, blobs and uploads while everything that it does to the disk is
recorded; each acknowledgement is a mark in the recording. Then the power fails, many times, at random places of the recording:
the disk comes back with what was synchronised and some of the rest (``disk.py``), the real store opens it, and everything that
had been acknowledged must be there. Run by itself, it is the recorded process.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import structlog

from tests.acceptance.server import environment
from tests.faults import recording
from tests.faults.disk import Disk, found, restore
from tests.faults.judging import acknowledged, judge
from tests.faults.lives import live_all, lives
from tests.faults.recording import Op, Record

LIVES = 12


@dataclass(frozen=True, slots=True)
class Tape:
    """A recording of ``LIVES`` lives below ``root``, and the files that it left there."""

    seed: int
    root: Path
    records: tuple[Record, ...]


@dataclass
class Outcome:
    """What a number of losses showed."""

    losses: int = 0
    marks: int = 0
    records: int = 0
    syncs: int = 0
    lossy: int = 0  # losses after which something acknowledged was missing
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "broken": self.broken[:50]}


def tape(folder: Path, seed: int) -> Tape:
    """Record a process; what the recording says is checked against what it left, byte for byte."""
    root = Path(os.path.realpath(folder)) / "root"
    root.mkdir()
    library = recording.build_recorder(folder)
    line = [sys.executable, "-m", "tests.faults.powerloss", str(root), str(seed)]
    recording.record(line, root, folder / "log", library, {**environment(), "PYTHONPATH": str(Path.cwd())})
    made = Tape(seed, root, tuple(recording.read(folder / "log")))
    disk = Disk(str(root))
    for each in made.records:
        disk.play(each)
    assert disk.seen() == found(root), "something was done to the disk that is not in the recording"
    return made


async def lose(made: Tape, losses: int, seed: int, *, obeys: tuple[bool, bool] = (True, True)) -> Outcome:
    """Lose power so many times, at places in rising order, so that the recording is played once.

    ``obeys``: whether ``fsync`` of files, and of directories, does what it says; without, the judge must find losses.
    """
    began, dice = time.monotonic(), random.Random(seed)
    outcome = Outcome(losses, records=len(made.records), syncs=sum(each.op is Op.SYNC for each in made.records))
    disk, marks, at = Disk(str(made.root), obeys), list[str](), 0
    all_lives = lives(made.seed, LIVES)
    for place in sorted(dice.randrange(1, len(made.records) + 1) for _ in range(losses)):
        for each in made.records[at:place]:
            disk.play(each)
            if each.op is Op.MARK:
                marks.append(each.first.decode())
        at = place
        with tempfile.TemporaryDirectory(prefix="powerloss-") as folder:
            restored = Path(folder) / "root"
            restore(disk.after_loss(dice), str(made.root), restored)
            try:
                broken = await judge(restored / "data", all_lives, acknowledged(marks))
            except Exception as error:
                broken = [f"it does not open: {type(error).__name__}: {error}"]
            outcome.marks += len(marks)
            outcome.lossy += bool(broken)
            outcome.broken += [f"at {place}: {text}" for text in broken]
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


async def play(losses: int, seed: int, tapes: int = 1) -> Outcome:
    """Losses over several recordings."""
    total = Outcome()
    for index in range(tapes):
        folder = Path(tempfile.mkdtemp(prefix="tape-"))
        try:
            made = await asyncio.to_thread(tape, folder, seed + index)
            part = await lose(made, losses // tapes, seed + index)
        finally:
            shutil.rmtree(folder)
        total = Outcome(
            total.losses + part.losses,
            total.marks + part.marks,
            total.records + part.records,
            total.syncs + part.syncs,
            total.lossy + part.lossy,
            round(total.seconds + part.seconds, 1),
            total.broken + part.broken,
        )
    return total


def summary(outcome: dict[str, object]) -> str:
    """One line for the promise."""
    broken = outcome["broken"]
    assert isinstance(broken, Sequence)
    return (
        "R3: {losses} losses of power in recordings of {records} operations, {marks} acknowledged facts looked at: "
        "{lossy} losses lost one".format_map(outcome)
        + f", {len(broken)} violations"
    )


def main(arguments: Sequence[str]) -> int:
    """The recorded process: ROOT SEED."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    root, seed = Path(arguments[0]), int(arguments[1])
    asyncio.run(live_all(root / "data", lives(seed, LIVES), recording.mark))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
