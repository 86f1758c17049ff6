"""A real Triton asks a model for every shape before it calls it ready, as the configs for a GPU have it; here on a CPU."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from export import registry, versions
from export.accelerators import accelerated
from export.repository import text_of
from export.tensorrt.plan import dims_asked
from export.variant import Variant
from tests.integration.adapters.triton.conftest import running

# Triton makes a batch of as many requests of one row, which backends in C++ run as one.
WITNESS = """
import triton_python_backend_utils as triton

class TritonPythonModel:
    def execute(self, requests):
        shapes = [triton.get_input_tensor_by_name(request, {tensor!r}).shape() for request in requests]
        with open({path!r}, "a") as seen:
            print(sum(shape[0] for shape in shapes), *shapes[0][1:], file=seen)
        return [triton.InferenceResponse([]) for _ in requests]
"""


def place(models: Path, name: str) -> Path:
    """A model's folder with its GPU config, but for the place; without a version."""
    (spec,) = registry.specs([name])
    config = accelerated(spec, "cuda")
    config.instance_group[0].kind = model_config_pb2.ModelInstanceGroup.KIND_CPU
    config.instance_group[0].count = 1
    for output in config.output:
        output.label_filename = ""
    folder = models / name
    folder.mkdir()
    (folder / "config.pbtxt").write_text(text_of(config))
    return folder


@pytest.mark.parametrize("name", ["shots", "labels", "text_recognition", "text_embedding"])
async def test_a_model_takes_every_shape(repository: Path, tmp_path: Path, name: str) -> None:
    (spec,) = registry.specs([name])
    (place(tmp_path, name) / str(spec.version)).symlink_to(versions.folder(repository, Variant(spec)))
    async with running(tmp_path, [name]) as stack:
        assert stack.inference.batch(name) == spec.max_batch_size


@pytest.mark.parametrize("name", ["labels", "text_recognition"])
async def test_every_shape_is_asked_before_the_model_is_ready(tmp_path: Path, name: str) -> None:
    (spec,) = registry.specs([name])
    folder, seen = place(tmp_path, name), tmp_path / "seen"
    config = text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    config.backend = "python"
    config.parameters.clear()
    config.ClearField("optimization")
    (folder / "config.pbtxt").write_text(text_of(config))
    (folder / str(spec.version)).mkdir()
    witness = WITNESS.format(path=str(seen), tensor=spec.inputs[0].name)
    (folder / str(spec.version) / "model.py").write_text(witness)
    (folder / str(spec.version) / "manifest.json").write_text(
        json.dumps({"digest": hashlib.sha256(witness.encode()).hexdigest()})
    )
    async with running(tmp_path, [name]):
        asked = seen.read_text().splitlines()
    assert asked == [" ".join(map(str, (spec.max_batch_size, *dims))) for dims in dims_asked(spec)]
