"""Settings in and out of a model's config, and the repository in which a trial is served."""

from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from orchestrator.adapters.triton import tunable
from orchestrator.core.tuning import Setting
from orchestrator.errors import NotFound, SetupError

CONFIG = """
name: "one" backend: "onnxruntime" max_batch_size: 8
input [{ name: "frames" data_type: TYPE_UINT8 dims: [ 4, 4, 3 ] }]
output [{ name: "scores" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt" }]
instance_group [{ kind: KIND_CPU count: 2 }]
version_policy { specific { versions: 1 } }
parameters { key: "inter_op_thread_count" value: { string_value: "1" } }
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
"""
SETTINGS = [
    Setting(2, 1, 8),
    Setting(1, 4, 16, delay_us=500, spinning=True),
    Setting(3, 0, 1, delay_us=0, planned_memory=False),
]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    for version in ("1", "3"):
        (root / "one" / version).mkdir(parents=True)
        (root / "one" / version / "model.onnx").write_bytes(version.encode())
    (root / "one" / "config.pbtxt").write_text(CONFIG)
    (root / "one" / "labels.txt").write_text("a\nb\n")
    (root / "two" / "1").mkdir(parents=True)
    (root / "two" / "config.pbtxt").write_text(CONFIG.replace('"one"', '"two"').replace("onnxruntime", "tensorrt"))
    return root


def parsed(path: Path) -> model_config_pb2.ModelConfig:
    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_goes_in_and_comes_out(repository: Path, setting: Setting):
    base = tunable.read(repository, "one")
    assert base.setting == SETTINGS[0]
    assert base.with_setting(setting).setting == setting
    assert base.with_setting(setting).with_setting(base.setting).config == base.config


def test_all_else_stays_as_it_is(repository: Path):
    base = tunable.read(repository, "one")
    base.config.dynamic_batching.preserve_ordering = True
    trial = base.with_setting(Setting(1, 2, 4, delay_us=7)).config
    assert trial.dynamic_batching.preserve_ordering
    assert trial.output == base.config.output
    assert trial.parameters["inter_op_thread_count"].string_value == "1"
    assert base.setting == Setting(2, 1, 8, delay_us=0)


def test_the_default_version_is_what_the_config_says_and_else_the_newest(repository: Path):
    assert tunable.read(repository, "one").version == 1
    assert tunable.read(repository, "one", 3).version == 3
    config = repository / "one" / "config.pbtxt"
    config.write_text(CONFIG.replace("specific { versions: 1 }", "latest { num_versions: 1 }"))
    assert tunable.read(repository, "one").version == 3


def test_a_written_config_is_the_versions_own(repository: Path):
    base = tunable.read(repository, "one", 3)
    own = tunable.own_config(repository, "one", 3)
    tunable.write(own, base.with_setting(SETTINGS[1]), (" on a machine", "faster"))
    assert own.read_text().splitlines()[:2] == ["# Measured by `reelsift models tune` on a machine", "# faster"]
    assert tunable.is_ours(own)
    assert sorted(path.name for path in own.parent.iterdir()) == ["config.pbtxt", "model.onnx"]
    assert tunable.read(repository, "one", 3).setting == SETTINGS[1]
    assert tunable.read(repository, "one", 1).setting == SETTINGS[0]
    own.write_text(CONFIG)
    assert not tunable.is_ours(own)


def test_a_trial_is_served_from_a_repository_of_its_own(repository: Path, tmp_path: Path):
    tunable.write(tunable.own_config(repository, "one", 1), tunable.read(repository, "one"), (" before",))
    base = tunable.read(repository, "one", 3)
    tunable.lay_out(repository, base.with_setting(SETTINGS[1]), tmp_path / "trial")
    made = tmp_path / "trial" / "one"
    assert sorted(path.name for path in made.iterdir()) == ["3", "config.pbtxt", "labels.txt"]
    assert (made / "3" / "model.onnx").read_bytes() == b"3"
    assert not (made / "3" / "model.onnx").is_symlink()
    served = parsed(made / "config.pbtxt")
    assert list(served.version_policy.specific.versions) == [3]
    assert served.max_batch_size == 16
    assert (tmp_path / "trial" / "two").resolve() == (repository / "two").resolve()
    assert tunable.read(tmp_path / "trial", "one").setting == SETTINGS[1]


def test_only_whole_requests_of_one_shape_are_batched(repository: Path):
    assert tunable.read(repository, "one").batchable
    config = repository / "one" / "config.pbtxt"
    config.write_text(CONFIG.replace("dims: [ 4, 4, 3 ]", "dims: [ -1, 4, 3 ]"))
    assert not tunable.read(repository, "one").batchable


def test_what_cannot_be_tuned_is_said(repository: Path):
    with pytest.raises(SetupError, match="'tensorrt'"):
        tunable.read(repository, "two")
    with pytest.raises(NotFound, match="no model absent"):
        tunable.read(repository, "absent")
    with pytest.raises(NotFound, match="no version 2 of one"):
        tunable.read(repository, "one", 2)
    (repository / "one" / "config.pbtxt").write_text("max_batch_size: many")
    with pytest.raises(SetupError, match="cannot be read"):
        tunable.read(repository, "one")
