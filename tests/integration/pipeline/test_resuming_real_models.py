"""The default profile with its real models goes on behind a segment, and takes over what is known, without a bit of difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.decoders.process import ProcessDecoder
from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.sources.path import PathSource
from orchestrator.adapters.sources.profiles import load_profiles
from orchestrator.adapters.triton.labels import Labels
from orchestrator.analyzers.registry import select
from orchestrator.core.jobs import ReusePlan
from orchestrator.core.media import DecodeLimits
from orchestrator.pipeline.analysis import Analysis, Known, Outcome
from orchestrator.settings import Settings
from tests.media.composite import DISSOLVES, build
from tests.support.fakes import Events
from tests.support.ort_inference import OrtInference
from tests.support.resuming import differences

MAX_SEGMENT_NS = 1_400_000_000  # 35 frames: every shot is split
PARTS = (replace(DISSOLVES[1], mix=0), *DISSOLVES[2:4])


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
    """Bicycles, a cross-fade to a face, and a hard cut to a busy road."""
    path = tmp_path_factory.mktemp("resuming") / "film.mp4"
    build(path, PARTS)
    return path


async def test_behind_every_segment_and_with_one_analyzer_new(film: Path) -> None:
    repository = Settings().model_repository
    profile = replace(load_profiles()["default"], max_segment_ns=MAX_SEGMENT_NS)
    inference = Counting(repository)
    with Arena(256 << 20) as arena:
        decoder = ProcessDecoder(arena, threads=2)

        async def analyse(**options: Any) -> tuple[Events, Outcome]:
            log = Events()
            analysis = Analysis(decoder, inference, select(profile, Labels(repository)), profile, DecodeLimits(), log)
            with PathSource(film, [film.parent]) as source:
                outcome = await analysis.run(source, **options)
            assert arena.in_use == 0, "a slot never came home"
            return log, outcome

        whole = log, outcome = await analyse()
        starts = [segment.annotations[0].value.starts_shot for segment in log.segments]
        assert starts.count(False) >= 2, "a shot goes on over several segments"
        assert starts.count(True) >= 2
        for done in range(1, len(log.points) + 1, 2):
            rest = await analyse(resume=log.points[done - 1])
            assert not differences(whole, rest, done), f"behind segment {done - 1}"

        inference.requests.clear()
        taken = tuple(each.analyzer for each in outcome.keys if each.analyzer != "moderation")
        known = Known(ReusePlan("old", taken), tuple(log.segments), log[0].media, outcome.finished)
        again, end = await analyse(known=known)
        assert again.segments == log.segments
        assert end.keys == outcome.keys
        assert set(inference.requests) == {"moderation"}
        await decoder.close()
