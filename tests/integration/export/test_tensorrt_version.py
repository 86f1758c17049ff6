"""A version with engines, from a real model; only TensorRT and the GPU are stand-ins (`tests.support.tensorrt_double`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from export import manifest, registry, versions
from export.commands import ExportResult, export_variant, write_configs_of
from export.errors import EngineError, MissingError
from export.repository import text_of
from export.tensorrt import device, engine
from export.tensorrt.network import refuse_unsupported
from export.tensorrt.plan import Architecture, plan
from export.tensorrt.version import Workshop
from export.variant import Variant
from tests.support.tensorrt_double import Behaviour, Module

(SPEC,) = registry.specs(["text_orientation"])
VARIANT = Variant(SPEC, target="tensorrt")
Export = Callable[..., ExportResult]


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Export:
    """Exports the version on a machine with this GPU and this TensorRT."""
    monkeypatch.setattr(engine, "timing_cache", lambda trt, architecture: tmp_path / "timing" / architecture.file)

    def run(
        gpu: str = "9.0", release: str = "11.4.0", behaviour: Behaviour | None = None, **options: Any
    ) -> ExportResult:
        module = Module(behaviour)
        module.__version__ = release
        workshop = Workshop(device.Gpu(f"NVIDIA {gpu}", Architecture.parse(gpu)), module)
        monkeypatch.setattr(Workshop, "open", lambda: workshop)
        return export_variant(VARIANT, tmp_path / "models", **options)

    return run


def document(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_bytes())


def config(path: Path) -> model_config_pb2.ModelConfig:
    return text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())


def test_engines_are_a_version_of_their_own(export: Export, tmp_path: Path) -> None:
    result = export()
    folder = tmp_path / "models" / SPEC.name / "101"
    assert (result.version, result.built) == (101, True)
    names = {path.name for path in folder.iterdir()}
    assert names == {"model.onnx", "model.plan.sm90", "config.pbtxt", "golden.npz", "manifest.json"}
    written = document(folder)
    assert (written["target"], written["precision"], written["version"]) == ("tensorrt", "fp32", 101)
    assert written["engines"] == {"9.0": {"file": "model.plan.sm90", "gpu": "NVIDIA 9.0", "tensorrt": "11.4.0"}}
    assert written["files"] == manifest.digests(folder)
    assert written["digest"] == written["files"]["model.onnx"]
    refuse_unsupported(onnx.load(folder / "model.onnx"))
    assert (folder / "config.pbtxt").read_text() == text_of(plan(SPEC, "fp32", [Architecture(9, 0)]).config(101))
    # What was served before is served still.
    served = config(tmp_path / "models" / SPEC.name / "config.pbtxt")
    assert (served.backend, list(served.version_policy.specific.versions)) == ("onnxruntime", [SPEC.version])


def test_another_gpu_adds_its_engine(export: Export, tmp_path: Path) -> None:
    export()
    folder = tmp_path / "models" / SPEC.name / "101"
    before = (folder / "model.plan.sm90").read_bytes()
    result = export(gpu="8.6")
    assert (result.version, result.built) == (101, True)
    assert list(document(folder)["engines"]) == ["8.6", "9.0"]
    assert (folder / "model.plan.sm90").read_bytes() == before
    assert dict(config(folder / "config.pbtxt").cc_model_filenames) == {
        "8.6": "model.plan.sm86",
        "9.0": "model.plan.sm90",
    }
    assert versions.is_current(tmp_path / "models", VARIANT)
    assert not export(gpu="8.6").built
    assert not export(gpu="9.0").built


def test_another_release_of_tensorrt_builds_anew(export: Export, tmp_path: Path) -> None:
    export()
    assert export(release="11.5.0").built
    assert document(tmp_path / "models" / SPEC.name / "101")["engines"]["9.0"]["tensorrt"] == "11.5.0"


def test_engines_of_a_folder_that_was_changed_are_not_kept(export: Export, tmp_path: Path) -> None:
    export()
    folder = tmp_path / "models" / SPEC.name / "101"
    (folder / "model.plan.sm90").write_bytes(b"of somebody else")
    export(gpu="8.6")
    assert list(document(folder)["engines"]) == ["8.6"]
    assert not (folder / "model.plan.sm90").exists()


def test_a_refusal_leaves_nothing(export: Export, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no runners"):
        export(behaviour=Behaviour(build_error="no runners that implement it"))
    assert list((tmp_path / "models" / SPEC.name).iterdir()) == []


def test_without_a_gpu_it_is_said_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(device.ctypes, "CDLL", lacking)
    with pytest.raises(MissingError, match="no NVIDIA driver"):
        export_variant(VARIANT, tmp_path / "models")
    assert list((tmp_path / "models" / SPEC.name).iterdir()) == []


def test_the_container_serves_the_engine_or_says_why_not(export: Export, tmp_path: Path) -> None:
    export()
    models = tmp_path / "models"
    path = models / SPEC.name / "configs" / "engine.pbtxt"
    (served,) = write_configs_of([SPEC.name], models, "sm90")
    assert (served.version, served.file, served.why) == (101, "model.plan.sm90", "")
    assert config(path).platform == "tensorrt_plan"
    assert list(config(path).version_policy.specific.versions) == [101]

    (served,) = write_configs_of([SPEC.name], models, "12.0")
    assert (served.version, served.file) == (SPEC.version, "model.onnx")
    assert "engines for 9.0, none for 12.0" in served.why
    assert path.read_text() == (models / SPEC.name / "configs" / "cuda.pbtxt").read_text()

    (served,) = write_configs_of(["labels"], models, "9.0")
    assert served.why == "labels: no version has engines; `export labels --target tensorrt` makes one"
