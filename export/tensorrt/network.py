"""An exported graph, written with what TensorRT's ONNX parser takes. Its answers stay the same.

Three things of ours it refuses (operators.md of onnx-tensorrt 10.15, and the parser itself):

- bytes anywhere but at an input or an output, where ours transpose and reorder them before they become floats: so they become
  floats at once, in which every byte is exact;
- BitShift, by which the shot model finds a pixel's colour bin: so it is a multiplication and Floor, exact for bytes;
- ScatterElements that adds, by which that model counts its colours: so two one-hot matrices are multiplied.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.errors import NetworkError

# Operators that TensorRT takes, of the official list (onnx-tensorrt docs/operators.md for 10.15), with those that our builders
# and quantisation may write. Scattering is judged by its attributes as well.
_SUPPORTED = """
    Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Clip Concat Constant ConstantOfShape Conv
    ConvTranspose CumSum DepthToSpace DequantizeLinear Div Einsum Elu Equal Erf Exp Expand Flatten Floor Gather
    GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual HardSigmoid HardSwish
    Identity If InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Loop LSTM MatMul Max
    MaxPool Mean Min Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or PRelu Pad Pow QuantizeLinear Range Reciprocal
    ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round
    ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Size Slice Softmax Softplus SpaceToDepth Split Sqrt Squeeze
    Sub Sum Tanh Tile TopK Transpose Trilu Unsqueeze Where Xor
"""
SUPPORTED = frozenset(_SUPPORTED.split())
_DIGIT = 8
"""Bins are counted as pairs of digits of this base: wide enough, and the one-hot matrices stay small."""


def adapted(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an equivalent model that TensorRT parses; the given one is left as it is.

    Raises:
        NetworkError: a node that TensorRT does not take and for which there is no equivalent here.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    rewriter = _Rewriter(copy.graph)
    nodes = [*rewriter.floats_for_bytes(), *(new for node in copy.graph.node for new in rewriter.rewritten(node))]
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in (*copy.graph.initializer, *rewriter.constants) if tensor.name in used]
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(kept)
    del copy.graph.value_info[:]
    try:
        onnx.checker.check_model(copy, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise NetworkError(f"{copy.graph.name}: the graph in TensorRT's terms is not valid: {error}") from error
    refuse_unsupported(copy)
    return copy


def refuse_unsupported(model: onnx.ModelProto) -> None:
    """Raise NetworkError that names every node which TensorRT does not take."""
    refused = [f"{node.op_type} ({node.name or node.output[0]})" for node in model.graph.node if not _is_taken(node)]
    inferred = onnx.shape_inference.infer_shapes(model).graph
    within = {value.name for value in inferred.value_info if value.type.tensor_type.elem_type == TensorProto.UINT8}
    refused += [f"bytes inside the graph ({name})" for name in sorted(within)]
    if refused:
        raise NetworkError(f"{model.graph.name}: TensorRT does not take {', '.join(refused)}")


def _is_taken(node: onnx.NodeProto) -> bool:
    if node.domain not in ("", "ai.onnx") or node.op_type not in SUPPORTED:
        return False
    return not (node.op_type in ("ScatterElements", "ScatterND") and _text(node, "reduction", "none") != "none")


def _text(node: onnx.NodeProto, name: str, default: str) -> str:
    return next((a.s.decode() for a in node.attribute if a.name == name), default)


class _Rewriter:
    """Turns nodes of a graph into their equivalents; `constants` are the tensors that those read."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.constants: list[onnx.TensorProto] = []
        self._graph = graph
        self._values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self._makers = {output: node for node in graph.node for output in node.output}
        self._renamed: dict[str, str] = {}
        self._count = 0

    def floats_for_bytes(self) -> list[onnx.NodeProto]:
        """Return the casts behind inputs of bytes; whoever reads such an input is to read the cast."""
        casts = []
        for value in self._graph.input:
            if value.type.tensor_type.elem_type == TensorProto.UINT8:
                self._renamed[value.name] = f"{value.name}_as_floats"
                casts.append(_node("Cast", [value.name], self._renamed[value.name], to=TensorProto.FLOAT))
        return casts

    def rewritten(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Return what stands for a node."""
        if node.op_type == "BitShift":
            return self._shifted(node)
        if node.op_type == "ScatterElements" and _text(node, "reduction", "none") == "add":
            return self._counted(node)
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [self._renamed.get(name, name) for name in node.input]
        return [copy]

    def _shifted(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """x >> s = floor(x * 2 ** -s): a power of two, so nothing is rounded before Floor."""
        places = self._values.get(node.input[1])
        if _text(node, "direction", "") != "RIGHT" or places is None or places.size != 1:
            raise NetworkError(f"{node.name}: BitShift is known to the right by one constant only")
        factor = self._constant(np.array(0.5 ** int(places), np.float32))
        quotient = self._fresh("quotient")
        pixels = self._renamed.get(node.input[0], node.input[0])
        return [_node("Mul", [pixels, factor], quotient), _node("Floor", [quotient], node.output[0])]

    def _counted(self, node: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Counts [t, bins] of indices [t, n], which were ones added to zeros at the indices.

        An index is two digits, high and low; the count of (high, low) is the sum over n of [is high] * [is low]: one product of
        matrices [t, bins / 8, n] and [t, n, 8]. Whole numbers up to 2048 are exact even in half precision, and n is 1296.
        """
        empty, indices, ones = node.input
        bins, filling = self._last_size(empty), self._filling(ones)
        if filling is None or filling != 1 or self._filling(empty) != 0 or bins is None or bins % _DIGIT:
            raise NetworkError(f"{node.name}: ScatterElements that adds is known as a count, of ones onto zeros, only")
        number_type = helper.np_dtype_to_tensor_dtype(filling.dtype)
        base = self._constant(np.array(_DIGIT, np.int64))
        highs = self._constant(np.arange(bins // _DIGIT, dtype=np.int64)[:, None])
        lows = self._constant(np.arange(_DIGIT, dtype=np.int64))
        second, third = self._constant(np.array([1], np.int64)), self._constant(np.array([2], np.int64))
        shape = self._constant(np.array([-1, bins], np.int64))
        nodes: list[onnx.NodeProto] = []

        def add(kind: str, *inputs: str, **attributes: int) -> str:
            nodes.append(_node(kind, list(inputs), self._fresh("count"), **attributes))
            return str(nodes[-1].output[0])

        high = add("Div", indices, base)
        low = add("Sub", indices, add("Mul", high, base))
        is_high = add("Cast", add("Equal", add("Unsqueeze", high, second), highs), to=number_type)
        is_low = add("Cast", add("Equal", add("Unsqueeze", low, third), lows), to=number_type)
        nodes.append(_node("Reshape", [add("MatMul", is_high, is_low), shape], node.output[0]))
        return nodes

    def _filling(self, name: str) -> np.generic | None:
        """The value of a tensor that is ConstantOfShape."""
        maker = self._makers.get(name)
        if maker is None or maker.op_type != "ConstantOfShape":
            return None
        given = (numpy_helper.to_array(attribute.t) for attribute in maker.attribute if attribute.name == "value")
        values: NDArray[np.generic] = next(given, np.zeros(1, np.float32))
        filling: np.generic = values.reshape(-1)[0]
        return filling

    def _last_size(self, name: str) -> int | None:
        """The last size of a tensor of ConstantOfShape whose shape is a concatenation that ends in a constant."""
        maker = self._makers.get(name)
        shape = self._makers.get(maker.input[0]) if maker is not None and maker.op_type == "ConstantOfShape" else None
        last = self._values.get(shape.input[-1]) if shape is not None and shape.op_type == "Concat" else None
        return None if last is None else int(last[-1])

    def _constant(self, value: NDArray[np.generic]) -> str:
        name = self._fresh("constant")
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def _fresh(self, stem: str) -> str:
        self._count += 1
        return f"tensorrt_{stem}_{self._count}"


def _node(kind: str, inputs: list[str], output: str, **attributes: int) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], name=output, **attributes)
