"""`list` tells every version: what is declared, what is there, what is served, and whether it is as it was exported."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from export import manifest, registry
from export.cli import app
from export.commands import ModelStatus, list_models
from export.parity import OutputParity, Parity
from export.variant import Variant

(SPEC,) = registry.specs(["faces"])
PARITY = Parity("toy", 1, (OutputParity("boxes", 0.0, 1.0),))


def made(repository: Path, variant: Variant, number: int) -> Path:
    folder = repository / SPEC.name / str(number)
    folder.mkdir(parents=True)
    (folder / manifest.MODEL_FILE).write_bytes(b"model")
    manifest.write(folder, variant, number, PARITY, {})
    return folder


def of_faces(repository: Path) -> dict[int, ModelStatus]:
    return {status.version: status for status in list_models(repository) if status.spec is SPEC}


def test_what_is_declared_and_not_there_is_missing(tmp_path: Path) -> None:
    found = list_models(tmp_path)
    assert {s.spec.name for s in found} == {s.name for s in registry.SPECS}
    assert {s.state for s in found} == {"missing"}
    assert all(s.digest is None and s.licence == s.spec.licence for s in found)


def test_the_state_of_each_version_is_told(tmp_path: Path) -> None:
    base = made(tmp_path, Variant(SPEC), SPEC.version)
    half = made(tmp_path, Variant(SPEC, "fp16"), 101)
    found = of_faces(tmp_path)
    assert {v: (s.precision, s.state, s.served) for v, s in found.items()} == {
        SPEC.version: ("fp32", "current", True),
        101: ("fp16", "intact", False),
    }
    for folder in (base, half):
        (folder / manifest.MODEL_FILE).write_bytes(b"other")
    assert {v: s.state for v, s in of_faces(tmp_path).items()} == {SPEC.version: "stale", 101: "damaged"}
    (half / manifest.MANIFEST_FILE).write_text("[]")
    assert of_faces(tmp_path)[101].state == "damaged"


def test_a_manifest_of_an_earlier_release_is_stale(tmp_path: Path) -> None:
    folder = made(tmp_path, Variant(SPEC), SPEC.version)
    document = json.loads((folder / manifest.MANIFEST_FILE).read_bytes())
    for field in ("precision", "target", "files", "golden"):
        del document[field]
    (folder / manifest.MANIFEST_FILE).write_text(json.dumps(document))
    assert of_faces(tmp_path)[SPEC.version].state == "stale"


def test_names_licences_and_digests_are_shown_whole(tmp_path: Path) -> None:
    made(tmp_path, Variant(SPEC), SPEC.version)
    shown = CliRunner().invoke(app, ["list", "--repository", str(tmp_path)]).stdout
    assert "text_recognition 1" in shown
    assert "Apache-2.0" in shown
    assert "current, served" in shown
    (digest,) = {s.digest for s in of_faces(tmp_path).values()}
    assert digest is not None
    assert digest[:12] in shown


def test_errors_have_their_names_and_a_status(tmp_path: Path) -> None:
    runner = CliRunner()
    refused = runner.invoke(app, ["export", "faces", "--precision", "int8", "--repository", str(tmp_path)])
    assert (refused.exit_code, "NotOffered" in refused.stderr) == (1, True)
    refused = runner.invoke(app, ["verify", "faces", "--repository", str(tmp_path)])
    assert (refused.exit_code, "BuildError" in refused.stderr) == (1, True)
    (tmp_path / "faces" / "7").mkdir(parents=True)
    refused = runner.invoke(app, ["sbom", "--repository", str(tmp_path)])
    assert (refused.exit_code, "faces version 7" in refused.stderr) == (1, True)
