"""The same bytes again after a model has changed: that model alone is asked, and the answer says so."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from orchestrator.api.client import AnalysisOptions, connect
from orchestrator.settings import Settings
from tests.acceptance.answers import Answer, annotation, collect
from tests.acceptance.server import Server
from tests.media.composite import REEL, build
from tests.support.served import served

ANALYZERS = ("shots", "keyframe", "labels", "moderation")
CHANGED = "moderation"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the models, to change."""
    copy = tmp_path / "models"
    shutil.copytree(Settings().model_repository, copy)
    return copy


@pytest.fixture
def own(repository: Path) -> Iterator[Server]:
    running = Server({"REELSIFT_MODEL_REPOSITORY": str(repository)})
    try:
        yield running
    finally:
        running.stop()


def upgrade(folder: Path) -> str:
    """Make another file of a model, with the same arithmetic, and its manifest; returns its digest."""
    model = onnx.load(folder / "model.onnx")
    model.doc_string = "another version"
    onnx.save(model, folder / "model.onnx")
    digest = hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {"digest": digest, "files": manifest["files"] | {"model.onnx": digest}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return digest


async def analysed(server: Server, clip: Path) -> Answer:
    async with connect(server.address) as client:
        return await collect(client.analyze_file(clip, AnalysisOptions(analyzers=ANALYZERS)))


async def test_only_what_a_changed_model_answers_is_computed_again(
    own: Server, repository: Path, tmp_path: Path
) -> None:
    clip = tmp_path / "short.mp4"
    build(clip, REEL[5:7])
    first = await analysed(own, clip)
    digest = upgrade(served(repository, CHANGED))
    own.crash()  # a new server over the same store; its counters begin at nothing
    second = await analysed(own, clip)
    (started,) = (each.started for each in second.responses if each.HasField("started"))
    assert list(started.reused_analyzers) == ["shots", "keyframe", "labels"]
    assert started.reused_from == first.analysis_id
    counted = own.metrics()
    assert {model for model, told in counted.items() if told.inferences > 0} - {"text_embedding"} == {CHANGED}
    for before, after in zip(first.segments, second.segments, strict=True):
        assert before.interval == after.interval
        assert before.thumbnail == after.thumbnail
        for name in ("shots", "labels"):
            assert annotation(before, name) == annotation(after, name)
        renewed = annotation(after, CHANGED)
        assert [model.digest for model in renewed.models] == [digest]
        assert renewed.moderation == annotation(before, CHANGED).moderation
    third = await analysed(own, clip)  # now everything is known
    (started,) = (each.started for each in third.responses if each.HasField("started"))
    assert (tuple(started.reused_analyzers), started.reused_from) == (ANALYZERS, second.analysis_id)
    assert third.segments == second.segments
