"""Triton runs real batches: its own counters say so. That no tensor travels in protobuf is shown in
``tests/integration/pipeline``, where the messages can be seen.
"""

from __future__ import annotations

import json
import re

import pytest

from orchestrator.adapters.frames.shm import SHM
from orchestrator.adapters.triton.server import POOL_BYTES
from orchestrator.settings import Settings
from tests.acceptance.answers import annotation
from tests.acceptance.conftest import Run
from tests.acceptance.server import Server

REGION = re.compile(r"reelsift-\d+-[0-9a-f]{8}-.+")  # of a model instance
WELL_BELOW = 0.5  # executions per inference


def counted(run: Run, model: str) -> tuple[int, int]:
    """Inferences and executions of one analysis of the composite, by ``nv_inference_count`` and
    ``nv_inference_exec_count``."""
    before, after = run.before.get(model), run.after[model]
    assert after.failures == (before.failures if before else 0)
    return (
        after.inferences - (before.inferences if before else 0),
        after.executions - (before.executions if before else 0),
    )


@pytest.mark.parametrize("model", ["labels", "objects", "moderation"])
def test_triton_counts_far_fewer_executions_than_inferences(run: Run, model: str) -> None:
    inferences, executions = counted(run, model)
    assert 0 < executions < WELL_BELOW * inferences


@pytest.mark.parametrize(("model", "analyzers"), [("labels", ("labels", "similarity")), ("objects", ("objects",))])
def test_batches_are_full_of_different_frames(run: Run, model: str, analyzers: tuple[str, ...]) -> None:
    """Padding counts as inferences too, so real frames per execution are what tells. Two analyzers of one model share
    its answer."""
    _, executions = counted(run, model)
    frames = {
        sum(
            annotation(segment, name).frames_analyzed - annotation(segment, name).frames_reused
            for segment in run.answer.segments
        )
        for name in analyzers
    }
    assert len(frames) == 1
    assert frames.pop() / executions > 1 / WELL_BELOW


@pytest.mark.parametrize("model", ["labels", "objects", "moderation", "faces"])
def test_every_request_carries_whole_pairs(run: Run, model: str) -> None:
    """What makes answers independent of the make-up of a batch: the backend computes rows two by two."""
    manifest = json.loads((Settings().model_repository / model / "1" / "manifest.json").read_text())
    inferences, executions = counted(run, model)
    assert inferences % 2 == 0
    assert 2 * executions <= inferences <= manifest["max_batch_size"] * executions


def test_a_part_filled_batch_is_not_computed_whole(run: Run) -> None:
    """The last batch of the composite's labels holds one picture."""
    inferences, executions = counted(run, "labels")
    assert inferences < 8 * executions


def test_no_model_outgrows_its_shared_memory(run: Run, server: Server) -> None:
    """A pool that grows while its stub is at work has crashed Triton."""
    sizes = {path.name: path.stat().st_size for path in SHM.glob(f"reelsift-{server.pid}-*") if REGION.match(path.name)}
    assert len(sizes) >= len(run.after)
    assert set(sizes.values()) == {POOL_BYTES}
