"""Run a decoder to its end and collect what it says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.frames import FrameBatch, Tap
from orchestrator.core.media import DecodeLimits, MediaInfo
from orchestrator.ports import (
    DecodeEvent,
    DecodeFinished,
    Decoder,
    DecodeRequest,
    DecodeSession,
    DecodeStart,
    MediaBytes,
    MediaOpened,
    TapAdvanced,
    TimelineGrew,
)

Row = tuple[int, int, NDArray[np.uint8] | None, int | None]


@dataclass
class Collected:
    """Everything a session said; ``rows[tap]`` are (index, pts, picture or None, same_as)."""

    media: MediaInfo | None = None
    finished: DecodeFinished | None = None
    pts: list[int] = field(default_factory=list)
    rows: dict[Tap, list[Row]] = field(default_factory=dict)
    through: dict[Tap, int] = field(default_factory=dict)
    batches: list[int] = field(default_factory=list)
    started: bool = False

    def take(self, event: DecodeEvent) -> None:
        """Take one event, checking the port's promises."""
        assert self.finished is None, "nothing follows the last event"
        assert (self.media is None) == isinstance(event, MediaOpened), "MediaOpened comes first, once"
        if isinstance(event, MediaOpened):
            self.media = event.media
        elif isinstance(event, TimelineGrew):
            assert event.first_index == len(self.pts)
            assert all(a < b for a, b in zip([*self.pts[-1:], *event.pts], event.pts, strict=False)) or not self.pts
            self.pts.extend(event.pts)
        elif isinstance(event, FrameBatch):
            self._batch(event)
        elif isinstance(event, TapAdvanced):
            assert event.through > self.through.get(event.tap, 0)
            self.through[event.tap] = event.through
        else:
            self.finished = event

    def _batch(self, batch: FrameBatch) -> None:
        tap, rows = batch.tap, self.rows.setdefault(batch.tap, [])
        shape = (tap.batch, tap.view.height, tap.view.width, 3)
        pixels = batch.slot.array(shape) if batch.slot else None
        for row in batch.rows:
            # A started tap may begin with one frame from before, which others repeat.
            assert row.index >= self.through.get(tap, 0) or (self.started and tap.reuse and not rows)
            assert self.pts[row.index] == row.pts, "a frame's TimelineGrew comes before it"
            assert not rows or rows[-1][0] < row.index
            copy = pixels[row.row].copy() if row.row is not None and pixels is not None else None
            rows.append((row.index, row.pts, copy, row.same_as))  # type: ignore[arg-type]
        assert batch.through > batch.rows[-1].index
        self.through[tap] = batch.through
        self.batches.append(sum(row.row is not None for row in batch.rows))
        if batch.slot is not None:
            batch.slot.release()

    def is_the_rest_of(self, whole: Collected, first: Sequence[int]) -> None:
        """Assert that this is ``whole`` from frames ``first`` of its taps on, save frames decoded twice."""
        assert (self.media, self.pts) == (whole.media, whole.pts)
        for tap, begin in zip(whole.rows, first, strict=True):
            rows = self.rows.get(tap, [])
            early = [row for row in rows if row[0] < begin]
            assert len(early) <= tap.reuse
            if early:
                assert rows[len(early)][3] == early[0][0], "it came because a row repeats it"
                assert_same_rows(early, [row for row in whole.rows[tap] if row[0] == early[0][0]])
            assert_same_rows(rows[len(early) :], [row for row in whole.rows[tap] if row[0] >= begin])
            known = {index for index, _, picture, _ in rows if picture is not None}
            assert all(same_as in known for _, _, picture, same_as in rows if picture is None)
        assert self.finished is not None
        assert whole.finished is not None
        ledger = replace(self.finished.ledger, redecoded=whole.finished.ledger.redecoded)
        assert replace(self.finished, ledger=ledger) == whole.finished

    def same_as(self, other: Collected) -> None:
        """Assert equality of all that does not depend on batching."""
        assert self.pts == other.pts
        for tap in other.rows:
            assert_same_rows(self.rows[tap], other.rows[tap])


def assert_same_rows(ours: Sequence[Row], theirs: Sequence[Row]) -> None:
    """Assert equality, pixel by pixel."""
    assert [(i, p, s) for i, p, _, s in ours] == [(i, p, s) for i, p, _, s in theirs]
    for mine, yours in zip(ours, theirs, strict=True):
        assert (mine[2] is None) == (yours[2] is None)
        assert mine[2] is None or np.array_equal(mine[2], yours[2]), f"pixels of frame {mine[0]}"


async def collect(
    decoder: Decoder,
    source: MediaBytes,
    *taps: Tap,
    limits: DecodeLimits | None = None,
    start: DecodeStart | None = None,
    seen: Callable[[DecodeSession, DecodeEvent], Awaitable[None]] | None = None,
) -> Collected:
    """Decode to the end; ``seen`` is called after each event."""
    out = Collected(started=start is not None)
    request = DecodeRequest(taps, limits or DecodeLimits(), start)
    async with asyncio.timeout(120), decoder.open(source, request) as session:
        async for event in session.events():
            out.take(event)
            if seen is not None:
                await seen(session, event)
        assert out.finished is None or session.ledger() == out.finished.ledger
    return out
