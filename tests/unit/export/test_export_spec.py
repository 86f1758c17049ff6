"""Specs check themselves, and the committed configuration is the generated one."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from export import registry
from export.commands import DEFAULT_REPOSITORY
from export.errors import UnknownModelError
from export.recipe import recipe_digest
from export.repository import config_text
from export.spec import Int8, ModelSpec, Source, TensorSpec
from export.variant import Variant, declared_by

ROOT = Path(__file__).resolve().parents[3]
by_model = pytest.mark.parametrize("spec", registry.SPECS, ids=lambda s: s.name)


@by_model
def test_committed_config_is_the_generated_one(spec: ModelSpec) -> None:
    assert (DEFAULT_REPOSITORY / spec.name / "config.pbtxt").read_text() == config_text(spec)


@by_model
def test_committed_labels_are_there_exactly_where_declared(spec: ModelSpec) -> None:
    assert (DEFAULT_REPOSITORY / spec.name / "labels.txt").exists() == spec.labels


def test_every_folder_of_the_repository_has_a_spec() -> None:
    folders = {p.parent.name for p in DEFAULT_REPOSITORY.glob("*/config.pbtxt")}
    assert folders == {s.name for s in registry.SPECS}


def test_recipe_digest_changes_with_the_spec() -> None:
    spec = registry.SPECS[0]
    assert recipe_digest(spec) == recipe_digest(dataclasses.replace(spec))
    assert recipe_digest(spec) != recipe_digest(dataclasses.replace(spec, max_batch_size=spec.max_batch_size + 1))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UnknownModelError, match="nonsense"):
        registry.specs(["nonsense"])


def test_the_configuration_names_one_version_and_the_default_decides_which() -> None:
    (spec,) = registry.specs(["labels"])
    assert spec.int8 is not None
    for default, version in (("fp32", spec.version), ("int8", spec.int8.version)):
        chosen = dataclasses.replace(spec, default=default)
        assert f"specific {{\n    versions: {version}\n  }}" in config_text(chosen)
        assert [v.declared for v in declared_by(chosen)] == sorted({spec.version, version})


def test_what_is_said_of_int8_leaves_full_precision_as_it_is() -> None:
    """A floor that is raised, or a default that is flipped, builds no fp32 model anew."""
    (spec,) = registry.specs(["labels"])
    other = dataclasses.replace(spec, default="int8", int8=Int8(version=9))
    assert Variant(other).recipe == Variant(spec).recipe
    assert Variant(other, "int8").recipe != Variant(spec, "int8").recipe
    assert Variant(dataclasses.replace(spec, default="int8"), "int8").recipe == Variant(spec, "int8").recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"default": "int8", "int8": None}, "not offered"),
        ({"name": "Shots"}, "snake case"),
        ({"max_batch_size": 0}, "at least 1"),
        ({"outputs": ()}, "at least one"),
        ({"outputs": (TensorSpec("frames", "FP32", (1,)),)}, "repeat"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(registry.SPECS[0], **changes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("Frames", "FP32", (1,)), "snake case"),
        (("frames", "FP32", ()), "positive"),
        (("frames", "FP32", (0,)), "positive"),
        (("frames", "INT32", (1,), 0.5), "INT32"),
    ],
)
def test_a_wrong_tensor_is_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TensorSpec(*arguments)


def test_sources_must_be_pinned_wheels_or_tarballs() -> None:
    with pytest.raises(ValueError, match="64"):
        Source("pypi", "a", "1", "a-1.whl", "abc", "MIT")
    with pytest.raises(ValueError, match=r"\.whl"):
        Source("pypi", "a", "1", "a-1.tar.gz", "0" * 64, "MIT")


def test_listing_and_declaring_import_nothing_heavy() -> None:
    """A second export answers at once because torch and onnx stay out until something is built."""
    heavy = ("torch", "onnx", "onnxruntime", "cv2")
    code = f"import sys, export.commands; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
