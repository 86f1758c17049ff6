"""What must be there after a crash: everything that was acknowledged, and nothing that was never written."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.core.jobs import AnalysisState
from orchestrator.core.results import Finished, SegmentClosed, Started
from orchestrator.errors import NotFound
from tests.faults.lives import (
    Life,
    World,
    blob_key,
    blob_of,
    bytes_of,
    checkpoint_of,
    finished_of,
    segment_of,
    spec_of,
    started_of,
    step_of,
    way_of,
    world,
)


@dataclass
class Acknowledged:
    """What one analysis was told."""

    created: bool = False
    uploaded: int = 0
    completed: bool = False
    began: bool = False
    segments: int = 0
    steps: int = 0
    blobs: set[int] = field(default_factory=set)
    ended: bool = False
    cancelled: bool = False
    deleting: bool = False
    deleted: bool = False

    def hear(self, what: str, number: str = "0") -> None:
        match what:
            case "uploaded":
                self.uploaded = int(number)
            case "committed":
                self.segments = int(number) + 1
            case "stepped":
                self.steps = int(number)
            case "put":
                self.blobs.add(int(number))
            case _:
                assert hasattr(self, what), what
                setattr(self, what, True)


def acknowledged(marks: Iterable[str]) -> dict[str, Acknowledged]:
    """By the id of an analysis, what ``lives.live`` told of it."""
    heard: dict[str, Acknowledged] = defaultdict(Acknowledged)
    for mark in marks:
        what, life, *number = mark.split()
        heard[life].hear(what, *number)
    return heard


async def judge(data: Path, lives: Iterable[Life], heard: dict[str, Acknowledged], *, over: bool = False) -> list[str]:
    """Every promise that the data directory breaks. ``over``: all lives have come to their end."""
    broken = integrity(data)
    if not broken:
        async with world(data) as where:
            for life in lives:
                broken += await _judge(where, life, heard.get(life.id, Acknowledged()), over)
    return broken


def integrity(data: Path) -> list[str]:
    """What SQLite finds wrong with the databases in ``data``, after it has rolled back what was cut off."""
    broken = []
    for path in data.glob("*.db"):
        base = sqlite3.connect(path)
        try:
            said = [row[0] for row in base.execute("PRAGMA integrity_check")]
            orphans = base.execute("PRAGMA foreign_key_check").fetchall()
        except sqlite3.DatabaseError as error:
            said, orphans = [str(error)], []
        finally:
            base.close()
        broken += [f"integrity: {said[0]}"] if said != ["ok"] else []
        broken += [f"integrity: {len(orphans)} rows refer to nothing"] if orphans else []
    return broken


async def _judge_rollout(where: World, life: Life, heard: Acknowledged, over: bool) -> list[str]:
    """A step that was told is there, and the state is the one of the last step."""
    way = way_of(life)
    state = (await where.rollouts.rollouts()).get(life.id)
    taken = state.revision if state else 0
    if taken < (len(way) if over else heard.steps):
        return [f"{heard.steps} steps were committed, it says {taken}"]
    history = list(await where.rollouts.history(life.id))
    if state is not None and (
        state != way[taken - 1] or history != [step_of(life, each) for each in way[:taken]][::-1]
    ):
        return [f"the rollout or its history is not what was written: {state}, {len(history)} steps"]
    return []


async def _judge(where: World, life: Life, heard: Acknowledged, over: bool) -> list[str]:
    broken: list[str] = []

    def expect(true: bool, text: str) -> None:
        if not true:
            broken.append(f"{life.id}: {text}")

    store = where.store
    broken += [f"{life.id}: {text}" for text in await _judge_rollout(where, life, heard, over)]
    try:
        record = await store.get(life.id)
    except NotFound:
        expect(life.deleted if over else not heard.created or heard.deleting, "the analysis is lost")
        return broken
    expect(not (heard.deleted or (over and life.deleted)), "the analysis is back")
    last = AnalysisState.CANCELLED if life.cancelled else AnalysisState.SUCCEEDED
    expect(record.state is last or not over, f"it should have ended, it is {record.state}")
    if life.cancelled:
        expect(record.state is last or not heard.cancelled, "it was cancelled, and is not")
        expect(record.segments == 0, "it was cancelled before it began")
        return broken
    expect(record.spec == spec_of(life), "it is another request")
    expect(
        record.upload.committed >= heard.uploaded,
        f"{heard.uploaded} bytes were stored, it says {record.upload.committed}",
    )
    expect(record.upload.complete or not heard.completed, "the end of the upload is lost")
    expect(record.segments >= heard.segments, f"{heard.segments} segments were committed, it says {record.segments}")
    expect(record.state.ended or not heard.ended, f"it had ended, it is {record.state}")

    events = list(await store.read(life.id, 0, 1000))
    log = [event for _, event in events]
    ended = record.state is AnalysisState.SUCCEEDED
    whole: list[object] = [started_of(life)] if log or heard.began else []
    whole += [SegmentClosed(segment_of(life, index)) for index in range(record.segments)]
    whole += [finished_of(life)] if ended else []
    expect([position for position, _ in events] == list(range(1, len(log) + 1)), "its log has gaps")
    expect(log == whole, f"its log is not what was written ({len(log)} events for {len(whole)})")
    expect(record.last_sequence == len(log), "its last position is another")
    expect(not ended or any(isinstance(event, Finished) for event in log), "it ended without an end")
    expect(not log or isinstance(log[0], Started), "its log does not begin with its start")

    found = await store.checkpoint(life.id)
    if not ended:
        if record.segments:
            expect(
                found is not None and found[0] == checkpoint_of(life, record.segments - 1),
                "checkpoint and segments differ",
            )
        else:
            expect(found is None, "a checkpoint of nothing")

    if life.upload and not heard.deleting:
        try:
            written = (where.uploads._path(life.id)).read_bytes() if record.upload.committed else b""
        except FileNotFoundError:
            written = b""
        expect(
            written[: record.upload.committed] == bytes_of(life)[: record.upload.committed], "uploaded bytes are lost"
        )
    if not heard.deleting:
        for index in heard.blobs | set(range(record.segments)):
            try:
                expect(await where.blobs.get(blob_key(life, index)) == blob_of(life, index), f"blob {index} is another")
            except NotFound:
                expect(False, f"blob {index} is lost")
    return broken
