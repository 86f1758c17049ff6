"""What a model takes, as Triton's config says it; and what a request must look like."""

import json
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.triton import metrics
from orchestrator.adapters.triton.contract import ModelContract, from_config
from orchestrator.adapters.triton.identity import identify
from orchestrator.adapters.triton.transport import Call
from orchestrator.errors import InferenceUnavailable


def contract(text: str) -> ModelContract:
    return from_config(text_format.Parse(text, model_config_pb2.ModelConfig()), "3")


LABELS = """
name: "labels" max_batch_size: 8 instance_group [{ count: 2 kind: KIND_CPU }]
input [{ name: "image" data_type: TYPE_UINT8 dims: [4, 4, 3] }]
output [{ name: "scores" data_type: TYPE_FP32 dims: [10] }, { name: "classes" data_type: TYPE_INT64 dims: [10] }]
"""
TEXT = """
name: "text" max_batch_size: 0 instance_group [{ count: 1 kind: KIND_GPU gpus: [0, 1] }]
input [{ name: "line" data_type: TYPE_UINT8 dims: [1, 48, -1, 3] }]
output [{ name: "indices" data_type: TYPE_INT32 dims: [1, -1] }]
"""


def test_a_config_is_read_whole():
    labels = contract(LABELS)
    assert (labels.batch, labels.instances, labels.version, labels.has_variable_dims) == (8, 2, "3", False)
    assert labels.shape(labels.inputs["image"].dims) == (8, 4, 4, 3)
    assert labels.outputs["classes"].nbytes((8, 10)) == 640
    text = contract(TEXT)
    assert (text.batch, text.instances, text.has_variable_dims) == (1, 2, True)
    assert text.shape((1, 48, 9, 3)) == (1, 48, 9, 3)


def test_strings_are_refused():
    with pytest.raises(InferenceUnavailable, match="STRING"):
        contract('name: "x" input [{ name: "words" data_type: TYPE_STRING dims: [1] }]')


def test_a_call_has_full_shapes():
    with Arena(8192) as arena:
        slot = arena.try_allocate(8 * 48)
        call = Call.check(contract(LABELS), {"image": slot})
        assert call.input_shapes == {"image": (8, 4, 4, 3)}
        assert call.output_shapes == {"scores": (8, 10), "classes": (8, 10)}
        with pytest.raises(ValueError, match="384 bytes"):
            Call.check(contract(LABELS), {"image": slot.part(0, 383)})


@pytest.mark.parametrize(("rows", "carried"), [(None, 8), (1, 2), (2, 2), (3, 4), (8, 8)])
def test_a_call_carries_whole_pairs_of_the_rows_that_matter(rows: int | None, carried: int):
    image = np.arange(8 * 48, dtype=np.uint8).reshape(8, 4, 4, 3)
    call = Call.check(contract(LABELS), {"image": image}, rows=rows)
    assert call.input_shapes == {"image": (carried, 4, 4, 3)}
    assert call.output_shapes == {"scores": (carried, 10), "classes": (carried, 10)}
    np.testing.assert_array_equal(call.carried("image"), image[:carried])


def test_on_a_gpu_all_requests_are_of_one_size():
    on_gpu = contract(LABELS.replace("KIND_CPU", "KIND_GPU gpus: [0]"))
    assert on_gpu.carried(1) == on_gpu.carried(None) == 8


@pytest.mark.parametrize("rows", [0, -1, 9])
def test_no_request_carries_more_rows_than_the_model_takes_or_none(rows: int):
    with pytest.raises(ValueError, match=f"1 to 8 rows, not {rows}"):
        Call.check(contract(LABELS), {"image": np.zeros((8, 4, 4, 3), np.uint8)}, rows=rows)


def test_variable_dims_are_the_callers():
    image = np.zeros((1, 48, 7, 3), np.uint8)
    call = Call.check(contract(TEXT), {"line": image}, output_dims={"indices": (1, 20)})
    assert call.output_shapes == {"indices": (1, 20)}
    with pytest.raises(ValueError, match="variable"):
        Call.check(contract(TEXT), {"line": image})
    with pytest.raises(ValueError, match="has dims"):
        Call.check(contract(TEXT), {"line": image[:, :47]}, output_dims={"indices": (1, 20)})


def test_the_manifest_names_the_digest(tmp_path: Path):
    folder = tmp_path / "labels" / "3"
    folder.mkdir(parents=True)
    with pytest.raises(InferenceUnavailable, match="lacks labels version 3"):
        identify(tmp_path, "labels", "3")
    (folder / "model.onnx").write_bytes(b"weights")
    assert identify(tmp_path, "labels", "3").digest.startswith("9a129038")
    (folder / "manifest.json").write_text(json.dumps({"digest": "d1"}))
    assert identify(tmp_path, "labels", "3").digest == "d1"
    (folder / "manifest.json").write_text("{}")
    with pytest.raises(InferenceUnavailable, match="manifest"):
        identify(tmp_path, "labels", "3")


def test_metrics_are_summed_over_versions():
    page = """# TYPE nv_inference_count counter
nv_inference_count{model="labels",version="1"} 80
nv_inference_count{model="labels",version="2"} 8
# TYPE nv_inference_exec_count counter
nv_inference_exec_count{model="labels",version="1"} 11
# TYPE nv_inference_request_failure counter
nv_inference_request_failure{model="labels",reason="OTHER",version="1"} 2
nv_inference_request_failure{model="labels",reason="BACKEND",version="1"} 1
# TYPE nv_cpu_utilization gauge
nv_cpu_utilization 0.5
"""
    assert metrics.parse(page) == {"labels": metrics.ModelMetrics(88, 11, 0, 3)}
