"""A repository of links serves one version of one model, and all others as before."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from orchestrator.adapters.triton.pinned_repository import pin
from orchestrator.errors import NotFound, SetupError


def config_of(path: Path) -> model_config_pb2.ModelConfig:
    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "a repository"
    for model in ("labels", "shots"):
        for version in ("1", "2", "10"):
            (root / model / version).mkdir(parents=True)
            (root / model / version / "model.onnx").write_text(f"{model} {version}")
        (root / model / "config.pbtxt").write_text(
            'backend: "onnxruntime" version_policy { latest { num_versions: 1 } }'
        )
        (root / model / "labels.txt").write_text("cat\n")
    return root


def test_one_version_is_there_and_served(repository: Path, tmp_path: Path) -> None:
    made = pin(repository, "labels", 2, tmp_path / "made")
    assert sorted(each.name for each in (made / "labels").iterdir()) == ["2", "config.pbtxt", "labels.txt"]
    assert (made / "labels/2/model.onnx").read_text() == "labels 2"
    config = config_of(made / "labels/config.pbtxt")
    assert list(config.version_policy.specific.versions) == [2]
    assert (config.name, config.backend) == ("labels", "onnxruntime")
    assert (made / "shots").resolve() == (repository / "shots").resolve()
    assert "latest" in (repository / "labels/config.pbtxt").read_text(), "the repository itself stays as it is"


def test_a_version_with_a_config_of_its_own_is_served_by_that(repository: Path, tmp_path: Path) -> None:
    (repository / "labels/2/config.pbtxt").write_text('name: "labels.2" backend: "tensorrt" max_batch_size: 4')
    config = config_of(pin(repository, "labels", 2, tmp_path / "made") / "labels/config.pbtxt")
    assert (config.name, config.backend, config.max_batch_size) == ("labels", "tensorrt", 4)
    assert config_of(pin(repository, "labels", 1, tmp_path / "other") / "labels/config.pbtxt").backend == "onnxruntime"


def test_a_version_that_there_is_not_is_named_with_those_there_are(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no version 3 of labels; it holds 1, 2, 10"):
        pin(repository, "labels", 3, tmp_path / "made")
    with pytest.raises(NotFound, match=r"no version 1 of nothing$"):
        pin(repository, "nothing", 1, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_a_config_that_cannot_be_read_is_said_to_be(repository: Path, tmp_path: Path) -> None:
    (repository / "labels/config.pbtxt").write_text("nonsense {")
    with pytest.raises(SetupError, match="config of labels"):
        pin(repository, "labels", 1, tmp_path / "made")
