"""Sessions that read tensors where they lie. Here that is host memory; ONNX Runtime goes the same way to a GPU's."""

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from orchestrator.adapters.triton.backends.onnxruntime import binding, dlpack


@pytest.fixture(scope="module")
def session() -> ort.InferenceSession:
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["float", "factor"], ["scaled"]),
            helper.make_node("Cast", ["float"], ["whole"], to=TensorProto.INT64),
        ],
        "g",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 4]),
            helper.make_tensor_value_info("factor", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("scaled", TensorProto.FLOAT, ["n", 4]),
            helper.make_tensor_value_info("whole", TensorProto.INT64, ["n", 4]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def lying(array: np.ndarray) -> binding.Lying:
    capsule = dlpack.capsule(array)
    return binding.lying(dlpack.facts(capsule), capsule)


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_the_answers_are_those_of_a_plain_run(session: ort.InferenceSession, rows: int):
    image = np.random.default_rng(rows).integers(0, 256, (rows, 4), np.uint8)
    factor = np.array([0.5], np.float32)
    scaled, whole = binding.run(session, ["scaled", "whole"], {"image": lying(image), "factor": lying(factor)})
    np.testing.assert_array_equal(scaled, image * factor)
    np.testing.assert_array_equal(whole, image)
    assert (scaled.dtype, whole.dtype) == (np.float32, np.int64)


def test_what_lies_behind_a_capsule_is_found():
    array = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    found = lying(array)
    assert (found.device, found.ordinal, found.shape, found.dtype) == ("cpu", 0, (2, 3, 4), np.int32)
    assert found.address == array.ctypes.data


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ((7, 0, 0, (1,), None, 1, 8), "device 7"),
        ((1, 0, 0, (1,), None, 2, 64), "64 bits"),
        ((1, 0, 0, (2, 3), (6, 2), 1, 8), "gaps"),
        ((2, 0, 0, (2, 3), (1, 2), 1, 8), "gaps"),
    ],
)
def test_what_cannot_be_read_in_place_is_refused(facts: tuple, says: str):
    with pytest.raises(TypeError, match=says):
        binding.lying(facts, None)


def test_strides_of_extents_of_one_do_not_matter():
    assert binding.lying((2, 1, 64, (1, 3), (99, 1), 1, 8), None).device == "cuda"


def test_a_consumed_capsule_is_refused():
    class Taken:
        def __init__(self, capsule: object) -> None:
            self._capsule = capsule

        def __dlpack__(self, **_: object) -> object:
            return self._capsule

        def __dlpack_device__(self) -> tuple[int, int]:
            return (1, 0)

    capsule = dlpack.capsule(np.ones(3))
    np.from_dlpack(Taken(capsule))
    with pytest.raises(ValueError, match="PyCapsule_GetPointer"):
        dlpack.facts(capsule)
