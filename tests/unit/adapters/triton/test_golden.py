"""Golden batches: read, cut into requests, and compared."""

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from orchestrator.adapters.triton import golden
from orchestrator.adapters.triton.contract import ModelContract, from_config
from orchestrator.adapters.triton.examination import unlike
from orchestrator.adapters.triton.golden import Golden
from orchestrator.adapters.triton.repository import Repository
from orchestrator.errors import FilesRefused
from tests.support.versions import TOLERANCES, write_version

CONFIG = """
    name: "m" max_batch_size: 2
    input [{ name: "x" data_type: TYPE_UINT8 dims: [4] }]
    output [{ name: "y" data_type: TYPE_FP32 dims: [-1, 2] }]
"""


def contract(text: str = CONFIG) -> ModelContract:
    return from_config(text_format.Parse(text, model_config_pb2.ModelConfig()), "1")


def batch(rows: int) -> Golden:
    x = np.arange(rows * 4, dtype=np.uint8).reshape(rows, 4)
    return Golden({"x": x}, {"y": np.ones((rows, 3, 2), np.float32)})


def test_batches_are_read(tmp_path: Path):
    write_version(tmp_path, 2)
    batches, tolerances = golden.read(Repository(tmp_path), "one", 2)
    assert [len(each.inputs["image"]) for each in batches] == [8, 3]
    assert [set(each.outputs) for each in batches] == [{"sums", "flat"}] * 2
    assert tolerances == TOLERANCES


@pytest.mark.parametrize("harm", ["unreadable", "missing", "empty", "pickled"])
def test_batches_that_cannot_be_read_are_refused(tmp_path: Path, harm: str):
    file = write_version(tmp_path, 2) / "golden.npz"
    if harm == "missing":
        file.unlink()
    elif harm == "unreadable":
        file.write_bytes(b"no")
    elif harm == "empty":
        np.savez(file, **{"in/0/image": np.zeros(1)})
    else:
        np.savez(file, **{"in/0/image": np.array([{}]), "out/0/sums": np.zeros(1)})  # type: ignore[arg-type]
    with pytest.raises(FilesRefused, match="one version 2"):
        golden.read(Repository(tmp_path), "one", 2)


def test_a_batch_is_cut_into_as_many_rows_as_the_model_takes():
    calls = batch(5).calls(contract())
    assert [call.input_shapes["x"] for call, _ in calls] == [(2, 4)] * 3
    assert [len(expected["y"]) for _, expected in calls] == [2, 2, 1]
    assert [call.inputs["x"][0, 0] for call, _ in calls] == [0, 8, 16]
    assert all(call.output_shapes["y"] == (2, 6, 2) for call, _ in calls), "room for an answer that is too large"


def test_a_model_without_batches_gets_the_arrays_as_they_are():
    whole = contract(CONFIG.replace("max_batch_size: 2", "max_batch_size: 0").replace("[4]", "[5, 4]"))
    golden_batch = Golden({"x": np.zeros((5, 4), np.uint8)}, {"y": np.ones((3, 2), np.float32)})
    ((call, expected),) = golden_batch.calls(whole)
    assert call.input_shapes["x"] == (5, 4)
    assert expected["y"].shape == (3, 2)


def test_a_batch_of_another_contract_is_an_error():
    with pytest.raises(ValueError, match="takes"):
        batch(2).calls(contract(CONFIG.replace('"x"', '"z"')))


EXPECTED = {"y": np.ones((2, 3), np.float32)}


@pytest.mark.parametrize(
    ("answer", "tolerance", "error"),
    [
        (np.ones((2, 3)), 0.0, 0.0),
        (np.ones((4, 3)), 0.0, 0.0),
        (np.ones((2, 3)) + 0.25, 0.5, 0.5),
        (np.ones((2, 3)) + 0.25, 0.0, np.inf),
        (np.full((2, 3), np.nan), 0.5, np.inf),
        (np.full((2, 3), np.inf), 0.5, np.inf),
        (np.ones((2, 4)), 0.5, np.inf),
        (np.ones((1, 3)), 0.5, np.inf),
        (None, 0.5, np.inf),
    ],
)
def test_errors_are_counted_in_tolerances(answer: np.ndarray | None, tolerance: float, error: float):
    outputs = {} if answer is None else {"y": answer.astype(np.float32)}
    ((call, _),) = batch(2).calls(contract())
    assert golden.worst(call, EXPECTED, outputs, {"y": tolerance}) == {"y": error}


@pytest.mark.parametrize(
    ("answer", "error"), [(np.zeros((2, 3)), 0.0), (np.ones((2, 4)), np.inf), (np.full((2, 3), np.nan), np.inf)]
)
def test_an_output_without_a_tolerance_is_not_compared_but_for_its_shape(answer: np.ndarray, error: float):
    ((call, _),) = batch(2).calls(contract())
    assert golden.worst(call, EXPECTED, {"y": answer.astype(np.float32)}, {}) == {"y": error}


def test_without_a_batch_there_are_no_rows_that_do_not_matter():
    whole = contract(CONFIG.replace("max_batch_size: 2", "max_batch_size: 0"))
    ((call, _),) = Golden({"x": np.zeros(4, np.uint8)}, {"y": np.ones((3, 2), np.float32)}).calls(whole)
    assert golden.worst(call, EXPECTED, {"y": np.ones((3, 3), np.float32)}, {}) == {"y": np.inf}


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (CONFIG, ""),
        (CONFIG.replace("max_batch_size: 2", "max_batch_size: 8"), ""),
        (CONFIG.replace("max_batch_size: 2", "max_batch_size: 0"), "batch dimension"),
        (CONFIG.replace("UINT8", "FP32"), r"input x is FP32 \[4\], the stable version's UINT8 \[4\]"),
        (CONFIG.replace("[4]", "[5]"), "input x"),
        (CONFIG.replace('"y"', '"z"'), "output y is missing"),
    ],
)
def test_contracts_are_compared(other: str, says: str):
    import re

    found = unlike(contract(other), contract())
    assert re.search(says, found) if says else found == ""
