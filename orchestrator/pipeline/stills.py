"""Single frames of a clip, and when all of them are shown."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from fractions import Fraction
from typing import cast

import numpy as np
from numpy.typing import NDArray

from orchestrator.core.frames import Fit, FrameBatch, Tap, View
from orchestrator.core.media import MediaInfo
from orchestrator.core.sampling import EVERY_FRAME, Sampling
from orchestrator.core.timeline import pts_to_ns
from orchestrator.ports import Decoder, DecodeRequest, MediaBytes, MediaOpened, TimelineGrew

Picture = NDArray[np.uint8]

BATCH = 8


@dataclass(slots=True)
class Stills:
    """``pts`` of every frame; ``pictures``, uint8 RGB ``[height, width, 3]`` with the source's aspect, by frame."""

    media: MediaInfo | None = None
    pts: list[int] = field(default_factory=list)
    pictures: dict[int, Picture] = field(default_factory=dict)

    def offset_ns(self, frame: int) -> int:
        """When ``frame`` is shown, counted from the first."""
        assert self.media is not None, "a decoded clip has been opened"
        return pts_to_ns(self.pts[frame] - self.media.start_pts, self.media.time_base)

    def sampled(self, sampling: Sampling) -> tuple[int, ...]:
        """The frames that an analyzer with ``sampling`` (not of keyframes alone) is shown."""
        start, base = (self.media.start_pts, self.media.time_base) if self.media else (0, Fraction(1))
        before = [None, *self.pts]
        return tuple(index for index, pts in enumerate(self.pts) if sampling.takes(pts, before[index], start, base))


async def stills(decoder: Decoder, source: MediaBytes, wanted: Collection[int], width: int, height: int) -> Stills:
    """The pictures ``wanted`` of ``source``, as large as fits ``width`` x ``height``. Raises what decoding raises.

    With none wanted hardly anything is decoded.
    """
    view = View(width, height, Fit.LETTERBOX)
    tap = Tap(view, EVERY_FRAME if wanted else Sampling(keyframes=True), BATCH, host=True)
    found = Stills()
    async with decoder.open(source, DecodeRequest((tap,))) as session:
        async for event in session.events():
            match event:
                case MediaOpened():
                    found.media = event.media
                case TimelineGrew():
                    found.pts += event.pts
                case FrameBatch():
                    _take(event, wanted, found)
    return found


def _take(batch: FrameBatch, wanted: Collection[int], found: Stills) -> None:
    if batch.slot is None or found.media is None:
        return
    view = batch.tap.view
    width, height = view.content(found.media.width, found.media.height)
    pixels = batch.slot.array((batch.tap.batch, view.height, view.width, 3))
    for row in batch.rows:
        if row.row is not None and row.index in wanted:
            found.pictures[row.index] = cast(Picture, pixels[row.row][:height, :width].copy())
    batch.slot.release()
