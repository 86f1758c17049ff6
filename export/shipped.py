"""Networks that packages ship as ONNX files: loading, wrapping, and the raw evaluation that parity compares with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto

from export.errors import BuildError
from export.external import parsed
from export.graph import Graph
from export.spec import Files
from export.specs.packages import RAPIDOCR

RawEvaluate = Callable[[NDArray[np.float32]], NDArray[Any]]


def load(path: Path) -> onnx.ModelProto:
    """Return a shipped network; BuildError unless it has one input and one output, IntegrityError when it is damaged."""
    model = parsed(path)
    onnx.load_external_data_for_model(model, str(path.parent))
    if len(model.graph.input) != 1 or len(model.graph.output) != 1:
        raise BuildError(f"{path.name}: expected one input and one output")
    return model


def opset(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators that a network uses; what is written around it must use the same."""
    return int(next(o.version for o in model.opset_import if o.domain == ""))


def absorb(graph: Graph, model: onnx.ModelProto, tensor: str) -> str:
    """Put a network behind `tensor`; return its output's name."""
    (result,) = graph.absorb(model, {model.graph.input[0].name: tensor}).values()
    return result


def blue_first(graph: Graph, frames: str) -> str:
    """uint8 RGB [n, h, w, 3] -> float32 BGR [n, 3, h, w], still 0..255."""
    swapped = graph.op("Gather", graph.op("Transpose", frames, perm=[0, 3, 1, 2]), graph.ints(2, 1, 0), axis=1)
    return graph.op("Cast", swapped, to=TensorProto.FLOAT)


def centred(graph: Graph, pixels: str) -> str:
    """(pixels / 255 - 0.5) / 0.5, as PaddleOCR computes it."""
    shifted = graph.op("Sub", graph.op("Div", pixels, graph.floats(255.0)), graph.floats(0.5))
    return graph.op("Div", shifted, graph.floats(0.5))


def centred_blue_first(frames: NDArray[Any]) -> NDArray[np.float32]:
    """The same in numpy, for references: RGB [n, h, w, 3] -> BGR [n, 3, h, w]."""
    pixels = frames[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)
    return np.ascontiguousarray((pixels / np.float32(255) - np.float32(0.5)) / np.float32(0.5))


def evaluator(path: Path) -> RawEvaluate:
    """Return the evaluation of a shipped network as it was shipped, without graph optimisations."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3  # shipped graphs carry unused initialisers, which would be warned about
    opened = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    name = opened.get_inputs()[0].name

    def evaluate(pixels: NDArray[np.float32]) -> NDArray[Any]:
        return np.asarray(opened.run(None, {name: pixels})[0])

    return evaluate


def paddle_file(files: Files, name: str) -> Path:
    """Return a network of the OCR package."""
    return files[RAPIDOCR.package] / "rapidocr" / "models" / name
