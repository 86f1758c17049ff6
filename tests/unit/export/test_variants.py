"""Variants: equal ones share a recipe and a folder, others get the next number, and own weights must be what a model is made of."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from export import registry, versions, weights
from export.commands import variants
from export.errors import WeightsError
from export.fetch import unpack
from export.repository import has_other_labels, write_labels
from export.variant import FIRST_FURTHER, Variant
from export.weights import UNKNOWN_LICENCE, OwnWeights

(SPEC,) = registry.specs(["faces"])


def own(folder: Path, content: bytes = b"numbers", licence: str | None = None) -> OwnWeights:
    folder.mkdir(exist_ok=True)
    for name in SPEC.weights.names:
        (folder / name).write_bytes(content)
    return weights.read(SPEC, folder, licence)


def pretend(folder: Path, variant: Variant) -> None:
    """A version folder that says it is the variant's."""
    folder.mkdir(parents=True)
    document = {"name": SPEC.name, "version": int(folder.name), "digest": "", "recipe": variant.recipe, "licence": ""}
    (folder / "manifest.json").write_text(json.dumps(document))


def test_the_spec_numbers_what_it_declares(tmp_path: Path) -> None:
    base = Variant(SPEC)
    assert base.declared == SPEC.version
    assert versions.folder(tmp_path, base) == tmp_path / "faces" / str(SPEC.version)
    pretend(tmp_path / "faces" / "107", Variant(SPEC, weights=own(tmp_path / "own")))
    assert versions.folder(tmp_path, base) == tmp_path / "faces" / str(SPEC.version)


def test_a_further_variant_finds_its_folder_again_and_another_gets_the_next(tmp_path: Path) -> None:
    first = Variant(SPEC, weights=own(tmp_path / "own"))
    second = Variant(SPEC, weights=own(tmp_path / "own", b"others"))
    assert first.declared is None
    assert versions.folder(tmp_path, first) == tmp_path / "faces" / str(FIRST_FURTHER)
    pretend(tmp_path / "faces" / str(FIRST_FURTHER), first)
    assert versions.folder(tmp_path, first).name == str(FIRST_FURTHER)
    assert versions.folder(tmp_path, second).name == str(FIRST_FURTHER + 1)


def test_a_folder_without_a_manifest_keeps_its_number(tmp_path: Path) -> None:
    (tmp_path / "faces" / "140").mkdir(parents=True)
    assert versions.folder(tmp_path, Variant(SPEC, weights=own(tmp_path / "own"))).name == "141"


def test_the_recipe_is_of_what_decides_the_bytes(tmp_path: Path) -> None:
    base = Variant(SPEC)
    mine = Variant(SPEC, weights=own(tmp_path / "own"))
    moved = Variant(SPEC, weights=own(tmp_path / "moved", licence="MIT"))
    others = Variant(SPEC, weights=own(tmp_path / "others", b"others"))
    assert mine.recipe == moved.recipe
    assert len({base.recipe, mine.recipe, others.recipe}) == 3
    wider = dataclasses.replace(SPEC, max_batch_size=SPEC.max_batch_size + 1)
    assert Variant(wider).recipe != base.recipe


def test_own_weights_state_their_licence_and_their_bytes(tmp_path: Path) -> None:
    variant = Variant(SPEC, weights=own(tmp_path / "own"))
    assert variant.licence == UNKNOWN_LICENCE
    assert Variant(SPEC, weights=own(tmp_path / "own", licence="CC-BY-4.0")).licence == "CC-BY-4.0"
    assert [source["file"] for source in variant.sources if source["registry"] == "user"] == list(SPEC.weights.names)


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    own(tmp_path / "own")
    (tmp_path / "own" / "blazeface.bin").unlink()
    (tmp_path / "own" / "setup.py").touch()
    with pytest.raises(WeightsError, match=r"lacks blazeface\.bin and also holds setup\.py"):
        weights.read(SPEC, tmp_path / "own")
    with pytest.raises(WeightsError, match="no folder"):
        weights.read(SPEC, tmp_path / "nowhere")


def test_weights_that_change_while_they_are_used_are_refused(tmp_path: Path) -> None:
    mine = own(tmp_path / "own")
    (tmp_path / "own" / "blazeface.bin").write_bytes(b"swapped")
    with pytest.raises(WeightsError, match=r"blazeface\.bin has changed"), weights.sources(SPEC, mine):
        pass


def test_own_weights_are_seen_in_their_package_and_nowhere_else(tmp_path: Path) -> None:
    package = SPEC.weights.package
    (source,) = (s for s in SPEC.sources if s.package == package)
    with weights.sources(SPEC, own(tmp_path / "own")) as files:
        seen = files[package] / SPEC.weights.folder
        assert (seen / "blazeface.bin").read_bytes() == b"numbers"
        assert (seen / "faceres.json").read_bytes() == (
            unpack(source) / SPEC.weights.folder / "faceres.json"
        ).read_bytes()
    assert (unpack(source) / SPEC.weights.folder / "blazeface.bin").read_bytes() != b"numbers"
    assert not seen.exists()


@pytest.mark.parametrize("spec", [s for s in registry.SPECS if s.name != "text_embedding"], ids=lambda s: s.name)
def test_the_named_files_are_the_packages(spec: registry.ModelSpec) -> None:
    """The text model's package keeps them in an archive: tests/integration/export/test_own_weights.py."""
    (source,) = (s for s in spec.sources if s.package == spec.weights.package)
    assert [n for n in spec.weights.names if not (unpack(source) / spec.weights.folder / n).is_file()] == []


def test_own_weights_are_one_models(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="name it"):
        variants((), weights=tmp_path)
    with pytest.raises(WeightsError, match="licence"):
        variants(["faces"], licence="MIT")


def test_all_versions_share_their_labels(tmp_path: Path) -> None:
    assert not has_other_labels(tmp_path, SPEC, ("cat", "dog"))
    write_labels(tmp_path, SPEC, ("cat", "dog"))
    assert not has_other_labels(tmp_path, SPEC, ("cat", "dog"))
    assert has_other_labels(tmp_path, SPEC, ("dog", "cat"))
