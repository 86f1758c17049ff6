"""The default profile with its real models goes on behind a segment, and takes over what is known, without a bit of difference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.frames.arena import Arena
from orchestrator.core.jobs import ReusePlan
from orchestrator.pipeline.analysis import Known, Outcome
from orchestrator.settings import Settings
from tests.integration.pipeline.conftest import Parts
from tests.media.composite import DISSOLVES, build
from tests.support.fakes import Events
from tests.support.ort_inference import OrtInference
from tests.support.resuming import differences

MAX_SEGMENT_S = 1.8  # 45 frames: every shot but one is split


class Counting(OrtInference):
    """Counts requests by model."""

    def __init__(self, repository: Path) -> None:
        super().__init__(repository)
        self.requests: dict[str, int] = {}

    async def infer(self, model: str, inputs: Mapping[str, Any], **options: Any) -> Mapping[str, Any]:
        self.requests[model] = self.requests.get(model, 0) + 1
        return await super().infer(model, inputs, **options)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-fade, a face, and a hard cut to a busy road: 161 frames."""
    path = tmp_path_factory.mktemp("resuming") / "film.mp4"
    build(path, DISSOLVES[1:4])
    return path


async def test_behind_every_segment_and_with_one_analyzer_new(film: Path) -> None:
    settings = Settings(triton="")
    with Arena(settings.arena_bytes) as arena:
        inference = Counting(settings.model_repository)
        parts = Parts(settings, arena, inference)

        async def analyse(**options: Any) -> tuple[Events, Outcome]:
            return await parts.analyse(inference, film, max_segment_s=MAX_SEGMENT_S, **options)

        whole = log, outcome = await analyse()
        starts = [segment.annotations[0].value.starts_shot for segment in log.segments]
        assert starts.count(False) >= 2, "a shot goes on over several segments"
        assert starts.count(True) >= 2
        for done, point in enumerate(log.points, 1):
            rest = await analyse(resume=point)
            assert not differences(whole, rest, done), f"behind segment {done - 1}"

        inference.requests.clear()
        taken = tuple(each.analyzer for each in outcome.keys if each.analyzer != "moderation")
        known = Known(ReusePlan("old", taken), tuple(log.segments), log[0].media, outcome.finished)
        again, end = await analyse(known=known)
        assert again.segments == log.segments
        assert end.keys == outcome.keys
        assert set(inference.requests) == {"moderation"}
