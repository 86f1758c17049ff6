"""Configs for a GPU: made of the repository's own, with nothing else changed."""

import json
from pathlib import Path

import pytest
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from orchestrator.adapters.triton import placement
from orchestrator.adapters.triton.backends.onnxruntime.options import parse
from orchestrator.adapters.triton.repository import Repository
from orchestrator.errors import SetupError

REPOSITORY = Repository(Path(__file__).resolve().parents[4] / "model_repository")
MODELS = REPOSITORY.models()


@pytest.mark.parametrize("model", MODELS)
def test_a_model_is_placed_on_the_gpu(model: str):
    own = text_format.Parse((REPOSITORY.root / model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    placed = json_format.Parse(placement.config(REPOSITORY, model, 1, model, 3), model_config_pb2.ModelConfig())
    (group,) = placed.instance_group
    assert (group.kind, list(group.gpus)) == (model_config_pb2.ModelInstanceGroup.KIND_GPU, [3])
    assert group.count == own.instance_group[0].count
    assert placed.parameters["FORCE_CPU_ONLY_INPUT_TENSORS"].string_value == "no"
    del placed.parameters["FORCE_CPU_ONLY_INPUT_TENSORS"]
    placed.instance_group[0].CopyFrom(own.instance_group[0])
    assert placed.version_policy.specific.versions == [1]
    placed.version_policy.CopyFrom(own.version_policy)
    assert placed == own


def test_our_backend_takes_such_a_config():
    config = json.loads(placement.config(REPOSITORY, "labels", 1, "labels", 1))
    options = parse(config, "GPU", 1)
    assert options.providers[0] == ("CUDAExecutionProvider", {"device_id": "1"})
    assert options.intra_op_threads == 1


def test_a_config_that_cannot_be_read(tmp_path: Path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.pbtxt").write_text("name: [")
    for model in ("broken", "missing"):
        with pytest.raises(SetupError, match=model):
            placement.config(Repository(tmp_path), model, 1, model, 0)


def test_on_a_gpu_the_configs_for_it_count():
    """int8 is made for CPUs, so that they name another version there; and what the container warms up is our own matter."""
    there = Repository(REPOSITORY.root, on_gpu=True)
    lowered = [model for model in MODELS if REPOSITORY.config(model).version_policy.specific.versions != [1]]
    assert lowered, "no model is int8 on a CPU"
    for model in MODELS:
        assert there.config(model).version_policy.specific.versions == [1]
        assert there.config(model).model_warmup
        placed = json_format.Parse(placement.config(there, model, 1, model, 0), model_config_pb2.ModelConfig())
        assert not placed.model_warmup
        options = parse(json.loads(placement.config(there, model, 1, model, 0)), "GPU", 0)
        assert options.providers[0][0] == "CUDAExecutionProvider"
        assert options.providers[0][1]["use_tf32"] == "0"


def test_a_version_s_own_config_counts_before_that(tmp_path: Path):
    for path, name in (("config.pbtxt", "cpu"), ("configs/cuda.pbtxt", "gpu"), ("2/config.pbtxt", "own")):
        (tmp_path / "one" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "one" / path).write_text(f'name: "{name}"')
    assert [Repository(tmp_path, on_gpu=on).config("one", 1).name for on in (False, True)] == ["cpu", "gpu"]
    assert [Repository(tmp_path, on_gpu=on).config("one", 2).name for on in (False, True)] == ["own", "own"]
