"""int8 and fp16 versions: as near to fp32 as their specs demand, with rows that do not depend on their neighbours."""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from export import golden, manifest, registry, versions
from export.commands import export_models, export_variant, variants
from export.errors import AccuracyTooLow, NotOffered
from export.fetch import unpack
from export.spec import Files, ModelSpec
from export.variant import FIRST_FURTHER, Variant
from export.verify import evaluator
from tests.support.invariance import answers_of_one_row

INT8 = [spec for spec in registry.SPECS if spec.int8]
by_int8_model = pytest.mark.parametrize("spec", INT8, ids=lambda s: s.name)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that holds every int8 version that is offered, and nothing else."""
    folder = tmp_path_factory.mktemp("int8")
    for variant in variants(precision="int8"):
        export_variant(variant, folder)
    return folder


def files_of(spec: ModelSpec) -> Files:
    return {source.package: unpack(source) for source in spec.sources}


@by_int8_model
def test_int8_is_what_its_spec_declares(spec: ModelSpec, repository: Path) -> None:
    assert spec.int8 is not None
    assert versions.numbers(repository, spec.name) == [spec.int8.version]
    variant = Variant(spec, "int8")
    assert versions.is_current(repository, variant)
    folder = versions.folder(repository, variant)
    document = json.loads((folder / manifest.MANIFEST_FILE).read_bytes())
    assert (document["precision"], document["version"]) == ("int8", spec.int8.version)
    found = document["accuracy"]
    assert found["rows"] >= 12
    assert found["floors"] == dict(spec.agreement.floors)
    assert all(found["values"][name] >= least for name, least in found["floors"].items())
    operators = {node.op_type for node in onnx.load(folder / manifest.MODEL_FILE).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators


@by_int8_model
def test_a_row_of_an_int8_version_does_not_depend_on_its_neighbours(spec: ModelSpec, repository: Path) -> None:
    evaluate = evaluator(versions.folder(repository, Variant(spec, "int8")) / manifest.MODEL_FILE)
    batch = importlib.import_module(spec.builder).golden(files_of(spec))[-1]
    assert len(answers_of_one_row(evaluate, spec, batch)) == 1


@by_int8_model
def test_the_golden_answers_hold_without_optimisations_too(spec: ModelSpec, repository: Path) -> None:
    """What the tolerances are made of: they hold as the file is served, to the bit, and as another machine may have it."""
    folder = versions.folder(repository, Variant(spec, "int8"))
    found = manifest.read(folder)
    assert found is not None
    assert found.tolerances
    for batch in golden.read(folder / manifest.GOLDEN_FILE):
        (frames,) = batch.inputs.values()
        same, plain = (evaluator(folder / manifest.MODEL_FILE, optimised=o)(frames) for o in (True, False))
        for name, answer in batch.outputs.items():
            np.testing.assert_array_equal(same[name], answer)
        for name, tolerance in found.tolerances.items():
            assert np.abs(plain[name].astype(np.float64) - batch.outputs[name]).max() <= tolerance


@by_int8_model
def test_nothing_is_calibrated_or_measured_on_golden_batches(spec: ModelSpec) -> None:
    builder = importlib.import_module(spec.builder)
    samples = builder.samples(files_of(spec))
    rows = [{row.tobytes() for b in side for row in b} for side in (samples.calibration, samples.held_out)]
    kept = {row.tobytes() for batch in builder.golden(files_of(spec)) for row in batch}
    assert not rows[0] & rows[1]
    assert not kept & (rows[0] | rows[1])


def test_what_is_not_accurate_enough_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    (spec,) = registry.specs(["moderation"])
    strict = dataclasses.replace(spec, agreement=dataclasses.replace(spec.agreement, floors=(("top1", 1.01),)))
    with pytest.raises(AccuracyTooLow, match=r"moderation \(int8, onnx\).*top1 1\.0000 of at least 1\.01"):
        export_variant(Variant(strict, "int8"), tmp_path)
    assert list((tmp_path / "moderation").iterdir()) == []


def test_int8_is_refused_where_it_is_not_offered() -> None:
    with pytest.raises(NotOffered, match="faces"):
        variants(["faces"], "int8")
    assert {v.spec.name for v in variants(precision="int8")} == {s.name for s in INT8}


def test_fp16_is_a_further_version_which_changes_nothing_else(tmp_path: Path) -> None:
    (base,) = export_models(["text_orientation"], tmp_path)
    config = (tmp_path / "text_orientation" / "config.pbtxt").read_text()
    (wanted,) = variants(["text_orientation"], "fp16")
    first, second = export_variant(wanted, tmp_path), export_variant(wanted, tmp_path)
    assert (first.version, first.built, second.built) == (FIRST_FURTHER, True, False)
    assert (tmp_path / "text_orientation" / "config.pbtxt").read_text() == config
    folder = tmp_path / "text_orientation"
    half, full = folder / str(FIRST_FURTHER) / "model.onnx", folder / str(base.version) / "model.onnx"
    assert half.stat().st_size < 0.6 * full.stat().st_size
    frames = np.random.default_rng(2).integers(0, 256, (2, 48, 192, 3)).astype(np.uint8)
    difference = np.abs(evaluator(half)(frames)["scores"] - evaluator(full)(frames)["scores"]).max()
    assert 0 < difference < 0.01
