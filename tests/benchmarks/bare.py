"""The limit's parts, each alone in a fresh process: bare decoding with scaling, and the bare model.

    python -m tests.benchmarks.bare decode CLIP FPS     # one thread, every frame decoded, the wanted ones scaled
    python -m tests.benchmarks.bare infer CLIP ROWS     # one thread, batches of 8 out of real pictures
    python -m tests.benchmarks.bare first CLIP FPS SECONDS REPEATS   # the first SECONDS of a clip, one step after the other

Each prints one JSON object. Nothing here comes from the service, save the model's file and the settings of the scaler.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import onnxruntime as ort
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from orchestrator.settings import Settings
from tests.benchmarks.footage import RATE, wanted
from tests.media.clips import Picture
from tests.support.served import served

SIZE = 224
BATCH = 8


class Scaler:
    """The best practice that the service follows too: averaging areas, the matrix of HD, full range, one thread."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def write(self, frame: VideoFrame, row: Picture) -> None:
        """Scale ``frame`` into ``row``."""
        small = self._reformatter.reformat(
            frame, SIZE, SIZE, "rgb24", interpolation=Interpolation.AREA, src_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.JPEG, threads=1,
        )  # fmt: skip
        plane = small.planes[0]
        row[...] = np.frombuffer(plane, np.uint8).reshape(SIZE, plane.line_size)[:, : SIZE * 3].reshape(SIZE, SIZE, 3)


def frames(clip: Path) -> Iterator[VideoFrame]:
    """Frames in display order, decoded by one thread."""
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        stream.codec_context.thread_type = "NONE"
        yield from container.decode(stream)


def session(threads: int = 1) -> ort.InferenceSession:
    """The model ``labels`` (0 threads: ONNX Runtime's default)."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    model = served(Settings().model_repository, "labels") / "model.onnx"
    return ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def decode(clip: Path, fps: int) -> dict[str, float]:
    """CPU seconds to decode the whole clip and scale what is wanted of it."""
    batch, scaler = np.empty((BATCH, SIZE, SIZE, 3), np.uint8), Scaler()
    began, scaled, seen = time.process_time(), 0, 0
    picks = frozenset(wanted(1 << 20, fps)) if fps else None
    for index, frame in enumerate(frames(clip)):
        if picks is None or index in picks:
            scaler.write(frame, batch[scaled % BATCH])
            scaled += 1
        seen += 1
    return {"cpu": time.process_time() - began, "scaled": scaled, "frames": seen}


def infer(clip: Path, rows: int) -> dict[str, float]:
    """CPU seconds to infer ``rows`` pictures."""
    batches = first_batches(clip, 8)
    model = session()
    for batch in batches:
        model.run(None, {"frames": batch})
    runs = -(-rows // BATCH)
    began = time.process_time()
    for number in range(runs):
        model.run(None, {"frames": batches[number % len(batches)]})
    return {"cpu": (time.process_time() - began) * rows / (runs * BATCH), "rows": rows}


def first_batches(clip: Path, count: int) -> list[Picture]:
    """The first pictures of the clip, in batches."""
    pictures, scaler = np.empty((count, BATCH, SIZE, SIZE, 3), np.uint8), Scaler()
    for row, frame in zip(pictures.reshape(-1, SIZE, SIZE, 3), frames(clip), strict=False):
        scaler.write(frame, row)
    return list(pictures)


def first(clip: Path, fps: int, seconds: float, repeats: int) -> dict[str, float]:
    """Wall seconds from opening the clip to the answers for its first ``seconds``, in a warm process: decode, scale, one
    batch per 8 pictures, one thread, one after the other; the median of ``repeats``."""
    model, scaler = session(), Scaler()
    count = int(seconds * RATE)
    picks = frozenset(wanted(count, fps))

    def once() -> float:
        began = time.perf_counter()
        batch, used = np.zeros((BATCH, SIZE, SIZE, 3), np.uint8), 0
        for index, frame in enumerate(frames(clip)):
            if index in picks:
                scaler.write(frame, batch[used])
                used += 1
            if used == BATCH or index + 1 == count:
                if used:
                    model.run(None, {"frames": batch})
                used = 0
            if index + 1 == count:
                break
        return time.perf_counter() - began

    once()
    return {"wall": statistics.median(once() for _ in range(repeats))}


def main(what: str, clip: str, *numbers: str) -> None:
    """Run one part."""
    path = Path(clip)
    if what == "decode":
        result = decode(path, int(numbers[0]))
    elif what == "infer":
        result = infer(path, int(numbers[0]))
    else:
        result = first(path, int(numbers[0]), float(numbers[1]), int(numbers[2]))
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
