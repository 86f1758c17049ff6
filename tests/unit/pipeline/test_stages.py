"""Where the time of an analysis goes is noted, over all of its attempts, and a frame counts once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.adapters.stores.statistics import SqlStatistics
from orchestrator.core.statistics import Spent, Stats
from orchestrator.errors import InternalError, VersionWithdrawn
from orchestrator.pipeline.service import AnalysisService
from orchestrator.pipeline.stages import Stages, Timed
from tests.support.fakes import FakeInference
from tests.support.services import Bench, make_bench, read, spec, until, whole


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return make_bench(tmp_path, monkeypatch)


async def stats(analyses: AnalysisService) -> Stats:
    store: Any = analyses._store
    return await SqlStatistics(store.database).stats(1, datetime.now(UTC))


def test_what_one_attempt_leaves_the_next_adds_to() -> None:
    stages = Stages()
    stages.add("open", 1.5)
    stages.add("open", 0.25)
    stages.given("labels", 10, 3)
    again = Stages()
    again.add("open", 1.0)
    again.given("labels", 5, 1)
    again.resume(stages.state())  # type: ignore[arg-type]
    assert again.spent == Spent({"open": 2.75}, {"labels": (15, 4)})
    assert (stages.done, again.done) == (2, 1), "what others did is no progress"


async def test_a_model_is_timed_whatever_it_says() -> None:
    stages = Stages()
    fake = FakeInference({"gray": (1, lambda frames: {"level": frames})}, delay=lambda: 0.02)
    timed = Timed(fake, stages)
    answer = await timed.infer("gray", {"frames": np.zeros((1, 2), np.uint8)})
    assert answer["level"].shape == (1, 2)
    fake.withdrawals = 1
    with pytest.raises(VersionWithdrawn):
        await timed.infer("gray", {})
    assert stages.spent.stages["model/gray"] >= 0.02
    assert stages.done == 2


async def test_over_all_attempts_each_frame_counts_once(bench: Bench) -> None:
    gate = bench.decoder.gates[75] = asyncio.Event()
    async with bench.service() as analyses:
        record, _ = await analyses.create(spec(bench.file()))
        await until(lambda: analyses.runner.running() and analyses.runner.running()[0].attempt.segments == 2)
        first = analyses.runner.running()[0].attempt.stages.spent
        assert first.frames == {"grays": (50, 0)}
    gate.set()
    async with bench.service() as analyses:
        assert whole(await read(analyses, record.id))
        told = await stats(analyses)
    assert (told.ended, told.frames_analyzed) == (1, 100)
    assert told.stages["infer/grays"] > first.stages["infer/grays"], "the first attempt's is among it"


async def test_what_failed_tells_what_it_took_too(bench: Bench) -> None:
    bench.decoder.failures = [InternalError("a bug"), InternalError("again")]
    async with bench.service() as analyses:
        record, _ = await analyses.create(spec(bench.file()))
        await read(analyses, record.id)
        told = await stats(analyses)
    assert (told.reasons, told.media_seconds) == ({"INTERNAL": 1}, 0.0)
    assert "decode" in told.stages
