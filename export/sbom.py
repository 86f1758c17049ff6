"""What the models of a repository are made of, as a CycloneDX 1.6 document that other tools read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from export import manifest, registry, versions
from export.errors import IntegrityError

_licence = LicenseFactory().make_from_string


def sbom(repository: Path, names: Iterable[str] = ()) -> str:
    """Return the document: a machine-learning model per version folder, and what each is derived from.

    Raises:
        UnknownModelError: a name without a spec.
        IntegrityError: a version folder's manifest is missing or damaged.
    """
    bom = Bom()
    bom.metadata.component = Component(name="reelsift model repository", type=ComponentType.DATA, bom_ref="repository")
    made: dict[str, Component] = {}
    models = []
    for spec in registry.specs(names):
        for number in versions.numbers(repository, spec.name):
            document = manifest.document(repository / spec.name / str(number))
            if document is None:
                raise IntegrityError(f"{spec.name} version {number}: its manifest is missing or damaged")
            model = _model(document)
            sources = [_source(source, made) for source in document["sources"]]
            bom.components.add(model)
            bom.components.update(sources)
            bom.register_dependency(model, sources)
            models.append(model)
    bom.register_dependency(bom.metadata.component, models)
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)


def _model(document: dict[str, Any]) -> Component:
    name, number = document["name"], str(document["version"])
    stated = {key: document[key] for key in ("precision", "target", "recipe", "created")}
    tools = [Property(name="reelsift:tool", value=f"{tool} {v}") for tool, v in document["tools"].items()]
    return Component(
        name=name,
        version=number,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=f"model/{name}/{number}",
        description=document["description"],
        hashes=[_sha256(document["digest"])],
        licenses=[_licence(document["licence"])],
        properties=[*(Property(name=f"reelsift:{key}", value=value) for key, value in stated.items()), *tools],
        components=[
            Component(
                name=file,
                type=ComponentType.FILE,
                bom_ref=f"model/{name}/{number}/{file}",
                hashes=[_sha256(digest)],
            )
            for file, digest in document["files"].items()
        ],
    )


def _source(source: dict[str, Any], made: dict[str, Component]) -> Component:
    """One component for each package or user's file, however many models are made of it."""
    reference = f"{source['registry']}/{source['file']}/{source['sha256']}"
    if reference not in made:
        own = source["registry"] == "user"
        scope, _, package = source.get("package", source["file"]).rpartition("/")
        made[reference] = Component(
            name=source["file"] if own else source["package"],
            version=source.get("version"),
            type=ComponentType.FILE if own else ComponentType.LIBRARY,
            bom_ref=reference,
            purl=None if own else PackageURL(source["registry"], scope or None, package, source["version"]),
            hashes=[_sha256(source["sha256"])],
            licenses=[_licence(source["licence"])],
        )
    return made[reference]


def _sha256(digest: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest)
