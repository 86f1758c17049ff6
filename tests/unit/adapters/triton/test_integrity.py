"""Files of a version that are not those that were exported are refused, and named."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from orchestrator.adapters.triton import integrity
from orchestrator.adapters.triton.onnx_references import NotOnnx, references
from orchestrator.adapters.triton.repository import Repository
from orchestrator.errors import FilesRefused, NotFound, SetupError
from tests.support.versions import seal, sign, write_version

CONFIG = 'backend: "onnxruntime" max_batch_size: 8'


def model(location: str = "", *, nested: bool = False) -> onnx.ModelProto:
    """Adds a constant; in the branch of an ``If`` when ``nested``. The constant is kept in ``location``."""
    weights = numpy_helper.from_array(np.arange(4, dtype=np.float32), "w")
    if location:
        weights.ClearField("raw_data")
        weights.data_location = TensorProto.EXTERNAL
        weights.external_data.add(key="offset", value="0")
        weights.external_data.add(key="location", value=location)
    value = helper.make_tensor_value_info
    if not nested:
        nodes, held = [helper.make_node("Add", ["x", "w"], ["y"])], [weights]
    else:
        constant = helper.make_node("Constant", [], ["y1"], value=weights)
        branch = helper.make_graph([constant], "b", [], [value("y1", TensorProto.FLOAT, [4])])
        nodes, held = [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)], []
    inputs = [value("c" if nested else "x", TensorProto.BOOL if nested else TensorProto.FLOAT, [] if nested else [4])]
    graph = helper.make_graph(nodes, "g", inputs, [value("y", TensorProto.FLOAT, [4])], held)
    return helper.make_model(graph)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    folder = tmp_path / "labels" / "1"
    folder.mkdir(parents=True)
    (tmp_path / "labels/config.pbtxt").write_text(CONFIG)
    (folder / "model.onnx").write_bytes(model().SerializeToString())
    return Repository(tmp_path)


@pytest.fixture
def folder(repository: Repository) -> Path:
    return repository.folder("labels", 1)


def refused(repository: Repository, says: str) -> None:
    with pytest.raises(FilesRefused, match=says) as caught:
        integrity.check(repository, "labels", 1)
    assert "labels version 1" in str(caught.value)
    assert str(repository.root) not in str(caught.value)


def test_what_was_exported_is_served(repository: Repository, folder: Path):
    integrity.check(repository, "labels", 1)  # by hand, without a manifest
    seal(folder, "model.onnx")
    integrity.check(repository, "labels", 1)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]
    (folder / "manifest.json").write_text(json.dumps(manifest))  # as of an old export
    integrity.check(repository, "labels", 1)


@pytest.mark.parametrize("old", [False, True])
def test_a_changed_weight_is_refused(repository: Repository, folder: Path, old: bool):
    seal(folder, "model.onnx")
    if old:
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({"digest": manifest["digest"]}))
    (folder / "model.onnx").write_bytes(model().SerializeToString() + b"\x12\x00")
    refused(repository, "model.onnx is not the file that was exported")


@pytest.mark.parametrize("file", ["golden.npz", "model.onnx"])
def test_a_missing_file_is_refused(repository: Repository, folder: Path, file: str):
    seal(folder, "model.onnx")
    (folder / file).unlink()
    refused(repository, f"{file}, which is missing")


def test_a_file_that_is_not_listed_is_refused(repository: Repository, folder: Path):
    seal(folder, "model.onnx")
    (folder / "extra").mkdir()
    refused(repository, "does not list extra")


def test_a_config_of_the_operators_may_stand_there_and_one_that_is_listed_is_checked(
    repository: Repository, folder: Path
):
    seal(folder, "model.onnx")
    (folder / "config.pbtxt").write_text(CONFIG + " # tuned")
    integrity.check(repository, "labels", 1)
    sign(folder, "model.onnx")
    integrity.check(repository, "labels", 1)
    (folder / "config.pbtxt").write_text(CONFIG + " # changed")
    refused(repository, "config.pbtxt is not the file that was exported")


def test_a_link_is_refused(repository: Repository, folder: Path, tmp_path: Path):
    seal(folder, "model.onnx")
    (folder / "model.onnx").rename(tmp_path / "elsewhere")
    (folder / "model.onnx").symlink_to(tmp_path / "elsewhere")
    refused(repository, "'model.onnx', which leads out of its folder")


@pytest.mark.parametrize("name", ["../1/model.onnx", "/etc/passwd", "..", ""])
def test_a_listed_path_elsewhere_is_refused(repository: Repository, folder: Path, name: str):
    seal(folder, "model.onnx")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = manifest["digest"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    refused(repository, "leads out of its folder")


def test_a_digest_of_no_file_is_refused(repository: Repository, folder: Path):
    seal(folder, "model.onnx")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"digest": "0" * 64}))
    refused(repository, "does not say which file its digest is of")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"digest": 5}'])
def test_a_manifest_that_says_nothing_is_refused(repository: Repository, folder: Path, text: str):
    (folder / "manifest.json").write_text(text)
    refused(repository, "the manifest of labels version 1")


def test_a_config_that_names_a_file_elsewhere_is_refused(repository: Repository, folder: Path):
    (folder / "config.pbtxt").write_text(CONFIG + ' default_model_filename: "../1/model.onnx"')
    refused(repository, "its config names '../1/model.onnx', which leads out")
    (folder / "config.pbtxt").write_text(CONFIG + ' cc_model_filenames { key: "8.9" value: "89.plan" }')
    refused(repository, r"its config names 89.plan, which is missing")


def test_a_version_that_is_not_there_is_refused(repository: Repository, folder: Path):
    folder.rename(folder.parent / "2")
    refused(repository, "is not in the model repository")


@pytest.mark.parametrize("length", [0, 1, 20, -1])
def test_an_onnx_file_that_is_cut_short_is_refused(repository: Repository, folder: Path, length: int):
    whole = model()
    whole.ClearField("opset_import")  # so that its last byte is one of the graph
    (folder / "model.onnx").write_bytes(whole.SerializeToString()[:length])
    sign(folder, "model.onnx")  # cut short before it was signed
    refused(repository, r"model\.onnx: it (is cut short|holds no graph)")


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("location", ["../outside", "/etc/passwd", "inner/weights", "a\\b"])
def test_external_data_elsewhere_is_refused(
    repository: Repository, folder: Path, location: str, signed: bool, nested: bool
):
    (folder / "model.onnx").write_bytes(model(location, nested=nested).SerializeToString())
    (folder.parent / "outside").write_bytes(bytes(16))
    if signed:
        sign(folder, "model.onnx")
    refused(repository, "model.onnx keeps weights in '.*', which leads out of its folder")


def test_external_data_beside_the_model_is_served_when_the_manifest_vouches_for_it(
    repository: Repository, folder: Path
):
    (folder / "model.onnx").write_bytes(model("weights").SerializeToString())
    refused(repository, "keeps weights in weights, which is missing")
    (folder / "weights").write_bytes(bytes(16))
    integrity.check(repository, "labels", 1)
    sign(folder, "model.onnx")
    integrity.check(repository, "labels", 1)
    (folder / "weights").write_bytes(bytes(15) + b"1")
    refused(repository, "weights is not the file that was exported")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({"digest": manifest["digest"]}))
    refused(repository, "keeps weights in weights, which its manifest does not list")


def test_references_are_found_where_onnx_itself_finds_them(tmp_path: Path):
    file = tmp_path / "m.onnx"
    for location, nested in (("w1", False), ("w2", True)):
        file.write_bytes(model(location, nested=nested).SerializeToString())
        assert references(file) == {location}
    file.write_bytes(model().SerializeToString())
    assert references(file) == set()
    file.write_bytes(b"not a model at all, but long enough to be one")
    with pytest.raises(NotOnnx):
        references(file)


def test_python_versions_are_checked_by_their_own_config(repository: Repository):
    write_version(repository.root, 2, model="labels")
    integrity.check(repository, "labels", 2)
    assert repository.config("labels", 2).backend == "python"
    assert repository.config("labels", 1).backend == "onnxruntime"


def test_the_default_is_what_the_config_names_and_is_read_once(repository: Repository):
    (repository.root / "labels/3").mkdir()
    assert repository.versions("labels") == [1, 3]
    assert Repository(repository.root).default("labels") == 3
    (repository.root / "labels/config.pbtxt").write_text(CONFIG + " version_policy { specific { versions: [1] } }")
    assert repository.default("labels") == 1
    (repository.root / "labels/config.pbtxt").write_text(CONFIG)
    assert repository.default("labels") == 1
    assert repository.versioned("labels") == ("labels", 1)
    assert repository.versioned("labels.3") == ("labels", 3)
    assert repository.models() == ["labels"]


def test_a_model_without_a_version_and_one_without_a_config(repository: Repository):
    with pytest.raises(NotFound, match="faces"):
        repository.default("faces")
    (repository.root / "faces").mkdir()
    (repository.root / "faces/config.pbtxt").write_text(CONFIG)
    with pytest.raises(NotFound, match="no version of faces"):
        repository.default("faces")
    (repository.root / "faces/config.pbtxt").write_text("{")
    with pytest.raises(SetupError, match="faces"):
        repository.default("faces")
