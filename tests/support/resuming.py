"""Attempts that end early and others that go on: what resuming is compared with, and by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrator.core.jobs import Checkpoint
from orchestrator.core.media import LedgerMark
from orchestrator.core.results import Finished, Segment
from orchestrator.pipeline.analysis import Outcome
from tests.support.fakes import Events

Point = tuple[Checkpoint, Sequence[Mapping[str, object]]]


class Stopped(Exception):
    """The attempt ended behind a segment."""


class EndingEarly(Events):
    """Ends the attempt once ``segments`` have been kept, as a power cut would."""

    def __init__(self, segments: int, memory: Sequence[Mapping[str, object]] = ()) -> None:
        super().__init__(memory)
        self._left = segments

    async def segment(self, segment: Segment, checkpoint: Checkpoint) -> None:
        await super().segment(segment, checkpoint)
        self._left -= 1
        if not self._left:
            raise Stopped


def timeless(finished: Finished) -> Finished:
    """All that may not differ: not the time it took, nor what was decoded twice."""
    return replace(finished, elapsed_ns=0, ledger=replace(finished.ledger, redecoded=0))


def differences(whole: tuple[Events, Outcome], rest: tuple[Events, Outcome], done: int) -> list[str]:
    """Where ``rest``, begun behind segment ``done - 1``, is not what ``whole`` said from there on."""
    (all_events, end), (events, outcome) = whole, rest
    found = [f"told {len(events.segments)} segments"] if len(events.segments) != len(all_events.segments) - done else []
    for mine, yours in zip(events.segments, all_events.segments[done:], strict=False):
        if mine != yours:
            parts = [a.analyzer for a, b in zip(mine.annotations, yours.annotations, strict=False) if a != b]
            found.append(f"segment {yours.index}: {parts or 'its extent or thumbnail'}")
    for mine, yours in zip(events.points, all_events.points[done:], strict=False):
        one, other = (replace(point, state={}, ledger=LedgerMark()) for point in (mine[0], yours[0]))
        if one != other:
            found.append(f"memo behind segment {yours[0].segments - 1}")
    if timeless(outcome.finished) != timeless(end.finished):
        found.append(f"{outcome.finished} is not {end.finished}")
    if outcome.keys != end.keys:
        found.append("keys")
    return found
