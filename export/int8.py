"""Static quantisation: the network runs on bytes, what lies before and behind it stays as it is.

Weights are quantised per channel where the operator allows it; the ranges of what flows between them are those that
calibration batches have. The graph keeps its inputs and outputs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from export.errors import BuildError
from export.network import body, prepared
from export.spec import Int8


def quantised(model: onnx.ModelProto, calibration: Sequence[NDArray[Any]], how: Int8) -> onnx.ModelProto:
    """Return the graph with its network in int8; BuildError when nothing of it can be."""
    named = prepared(model)
    network = body(named)
    nodes = [n for n in named.graph.node if n.name in network and n.op_type not in how.keep]
    if not nodes:
        raise BuildError(f"{model.graph.name}: no node is left to quantise")
    with tempfile.TemporaryDirectory(prefix="reelsift-int8-") as folder:
        path, result = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.helper.set_model_props(
            named, {"onnx.quant.pre_process": "onnxruntime.quant"}
        )  # else it advises to simplify
        onnx.save(named, path)
        quantize_static(
            path,
            result,
            _Reader(named.graph.input[0].name, calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=sorted({node.op_type for node in nodes}),
            nodes_to_quantize=[node.name for node in nodes],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[how.ranges],
        )
        made = onnx.load(result)
    del made.metadata_props[:]
    made.graph.name, made.ir_version = model.graph.name, model.ir_version
    onnx.checker.check_model(made)
    return made


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, tensor: str, batches: Sequence[NDArray[Any]]) -> None:
        self._left: Iterator[dict[str, NDArray[Any]]] = iter([{tensor: batch} for batch in batches])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._left, None)
