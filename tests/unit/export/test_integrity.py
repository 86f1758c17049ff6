"""A version folder that is not what was exported is refused, and the file is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export import integrity, manifest
from export.errors import DamagedModel, ExternalDataError, IntegrityError, TamperedFile, ToleranceExceeded
from export.external import confined, parsed


def doubling(weights: onnx.TensorProto) -> onnx.ModelProto:
    """y = x * w for x of two numbers."""
    nodes = [helper.make_node("Mul", ["x", weights.name], ["y"])]
    tensors = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 2]) for n in ("x", "y")]
    graph = helper.make_graph(nodes, "toy", tensors[:1], tensors[1:], [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def stored(location: str) -> onnx.TensorProto:
    """A tensor whose numbers lie in another file."""
    tensor = numpy_helper.from_array(np.full(2, 2, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole version folder of a toy."""
    made = tmp_path / "toy" / "1"
    made.mkdir(parents=True)
    onnx.save(doubling(numpy_helper.from_array(np.full(2, 2, np.float32), "w")), made / "model.onnx")
    with (made / "golden.npz").open("wb") as stream:
        np.savez(stream, **{"in/0/x": np.ones((1, 2), np.float32), "out/0/y": np.full((1, 2), 2, np.float32)})
    sealed(made)
    return made


def sealed(made: Path) -> None:
    """Write a manifest that states the folder as it is."""
    files = manifest.digests(made)
    golden = {"file": "golden.npz", "tolerances": {"y": 1e-6}}
    stated = {"name": "toy", "version": 1, "digest": files["model.onnx"], "recipe": "", "licence": "MIT"}
    (made / "manifest.json").write_text(json.dumps({**stated, "files": files, "golden": golden}))


def test_a_whole_folder_answers_as_at_export(folder: Path) -> None:
    assert integrity.intact(folder).name == "toy"
    parity = integrity.answers(folder)
    assert (parity.frames, parity.worst.max_abs_error) == (1, 0.0)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: flip(f / "model.onnx"), r"has other bytes in model\.onnx"),
        (lambda f: (f / "model.onnx").write_bytes((f / "model.onnx").read_bytes()[:-9]), r"other bytes in model\.onnx"),
        (lambda f: flip(f / "golden.npz"), r"other bytes in golden\.npz"),
        (lambda f: (f / "golden.npz").unlink(), r"lacks golden\.npz"),
        (lambda f: (f / "weights.bin").write_bytes(b"0"), r"also holds weights\.bin"),
    ],
    ids=["tampered", "truncated", "other answers", "no answers", "foreign"],
)
def test_a_changed_folder_is_refused(folder: Path, harm: Callable[[Path], object], message: str) -> None:
    harm(folder)
    with pytest.raises(TamperedFile, match=message):
        integrity.intact(folder)


def test_an_operators_configuration_is_no_stranger_unless_it_was_exported(folder: Path) -> None:
    (folder / "config.pbtxt").write_text("max_batch_size: 4")
    assert integrity.intact(folder).name == "toy"
    sealed(folder)
    (folder / "config.pbtxt").write_text("max_batch_size: 8")
    with pytest.raises(TamperedFile, match=r"other bytes in config\.pbtxt"):
        integrity.intact(folder)


def test_a_folder_without_a_manifest_is_refused(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")
    with pytest.raises(IntegrityError, match="toy version 1: its manifest"):
        integrity.intact(folder)


def test_a_truncated_model_whose_manifest_agrees_is_refused(folder: Path) -> None:
    content = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(content[: len(content) // 2])
    sealed(folder)
    with pytest.raises(DamagedModel, match=r"model\.onnx"):
        integrity.answers(folder)


def test_an_empty_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    with pytest.raises(DamagedModel, match="no graph"):
        parsed(tmp_path / "model.onnx")


def test_other_answers_are_refused(folder: Path) -> None:
    onnx.save(doubling(numpy_helper.from_array(np.full(2, 3, np.float32), "w")), folder / "model.onnx")
    sealed(folder)
    with pytest.raises(ToleranceExceeded, match=r"toy\.y: differs by 1"):
        integrity.answers(folder)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "sub/../../secret.bin", "link.bin", ""])
def test_data_outside_of_the_folder_is_refused(folder: Path, location: str) -> None:
    (folder.parent / "secret.bin").write_bytes(np.full(2, 2, np.float32).tobytes())
    (folder / "link.bin").symlink_to(folder.parent / "secret.bin")
    onnx.save_model(doubling(stored(location)), folder / "model.onnx")
    sealed(folder)
    with pytest.raises(ExternalDataError, match="'w' lies outside"):
        integrity.answers(folder)


def test_data_in_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExternalDataError, match=r"'gone\.bin', which is no file"):
        confined(doubling(stored("gone.bin")), tmp_path)


def test_data_beside_the_model_is_read_and_checked(folder: Path) -> None:
    (folder / "weights.bin").write_bytes(np.full(2, 2, np.float32).tobytes())
    onnx.save_model(doubling(stored("weights.bin")), folder / "model.onnx")
    sealed(folder)
    assert integrity.answers(folder).frames == 1
    flip(folder / "weights.bin")
    with pytest.raises(TamperedFile, match=r"weights\.bin"):
        integrity.answers(folder)


def test_data_of_a_nested_graph_is_found(tmp_path: Path) -> None:
    inner = helper.make_graph([], "inner", [], [], [stored("../secret.bin")])
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    outer = helper.make_model(helper.make_graph([node], "outer", [], []))
    with pytest.raises(ExternalDataError, match="secret"):
        confined(outer, tmp_path)
