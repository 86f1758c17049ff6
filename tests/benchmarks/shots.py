"""What the gate in front of the shot model saves, and what it costs in accuracy: the same clips behind three gates.

    python -m tests.benchmarks.shots        # a table in Markdown

The composite and its variant with dissolves have a known truth. The clip that TransNetV2's package brings along has none: what the
model says when it sees every window stands for it, so that a cut which the gate finds and the model does not counts as a false one.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from numpy.typing import NDArray

from export.fetch import unpack
from export.specs.shots import WEIGHTS
from orchestrator.adapters.decoders.scaling import Scaler
from orchestrator.analyzers.shots import BATCH, VIEW, Options, Shots
from orchestrator.core.frames import FrameBatch, FrameRow, Slot
from orchestrator.core.segmenting import Boundary
from orchestrator.core.shots import Thumbnails
from orchestrator.ports import Inference
from orchestrator.settings import Settings
from tests.benchmarks import page
from tests.media import composite
from tests.media.truth import Span
from tests.support.ort_inference import OrtInference

NEAR = 1  # frames that a cut may lie beside its truth
GATES = {
    "every window that changes (`thorough`)": Options(gate_step=0, gate_jump=0, gate_drift=0, gate_sure=0),
    "windows that may hold a cut": Options(gate_sure=0),
    "frames in doubt alone (`default`)": Options(),
}
HEAD = (
    "clip",
    "shown to the model",
    "frames",
    "CPU s per media s, gate and model",
    "cuts",
    "precision",
    "recall",
    "F1",
)


@dataclass(frozen=True, slots=True)
class Clip:
    """Thumbnails, and what is known: first frames of new shots, and dissolves in which one is found anywhere."""

    name: str
    thumbnails: Thumbnails
    rate: float
    cuts: Sequence[int] | None = None
    dissolves: Sequence[Span] = ()

    def score(self, found: Sequence[int], reference: Sequence[int]) -> tuple[float, float]:
        """Precision and recall; each cut of the truth is found once."""
        wanted = [range(cut - NEAR, cut + NEAR + 1) for cut in (self.cuts if self.cuts is not None else reference)]
        wanted += [range(span.start, span.end + 1) for span in self.dissolves]
        hits = sum(any(cut in span for cut in found) for span in wanted)
        return hits / max(1, len(found)), hits / max(1, len(wanted))


class _Memory:
    """Thumbnails where a slot would be."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self._pixels = pixels

    def array(self, *_: object) -> NDArray[np.uint8]:
        return self._pixels


class _Counting(OrtInference):
    """Counts the frames that the model is shown."""

    frames = 0

    async def infer(self, model: str, inputs: Mapping[str, Any], **options: Any) -> Mapping[str, np.ndarray]:
        self.frames += inputs["frames"].shape[1]
        return await super().infer(model, inputs, **options)


def read(name: str, path: Path, cuts: Sequence[int] | None = None, dissolves: Sequence[Span] = ()) -> Clip:
    """Decode a clip to thumbnails."""
    scaler = Scaler(VIEW)
    with av.open(str(path)) as container:
        rate = float(container.streams.video[0].average_rate or 25)
        return Clip(
            name, np.stack([scaler.scale(frame, 0) for frame in container.decode(video=0)]), rate, cuts, dissolves
        )


async def find(clip: Clip, options: Options, inference: _Counting) -> list[int]:
    """First frames of new shots, as the analyzer finds them."""
    shots, found = Shots(options), list[int]()

    def take(boundaries: list[Boundary], _: int) -> None:
        found.extend(boundary.frame for boundary in boundaries)

    whole = len(clip.thumbnails)
    for start in range(0, whole, BATCH):
        end = min(start + BATCH, whole)
        rows = tuple(FrameRow(index, index, index - start) for index in range(start, end))
        slot = cast(Slot, _Memory(clip.thumbnails[start:end]))
        await shots.feed(FrameBatch(shots.tap, rows, end, slot), cast(Inference, inference), take)
    await shots.finish(whole, cast(Inference, inference), take)
    return found


async def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clip.mp4"
        truth = composite.build_composite(file)
        clips = [read("composite", file, truth.cuts)]
        truth = composite.build_dissolves(file)
        clips.append(read("composite with dissolves", file, truth.cuts, truth.dissolves))
    clips.append(read("the package's clip", unpack(WEIGHTS) / "tests" / "test.mp4"))
    cells = []
    for clip in clips:
        reference: list[int] | None = None
        for gate, options in GATES.items():
            inference = _Counting(Settings().model_repository, workers=1)
            await inference.ready(Shots.models)
            began = time.process_time()
            found = await find(clip, options, inference)
            seconds = (time.process_time() - began) * clip.rate / len(clip.thumbnails)
            reference = reference or found
            precision, recall = clip.score(found, reference)
            fields = (precision, recall, 2 * precision * recall / max(1e-9, precision + recall))
            frames = f"{inference.frames} of {len(clip.thumbnails)}"
            cells.append((clip.name, gate, frames, f"{seconds:.3f}", str(len(found)), *(f"{f:.3f}" for f in fields)))
    sys.stdout.write(page.table(HEAD, cells) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
