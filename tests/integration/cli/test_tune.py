"""Tuning for real: services with Triton, weights and video, measured against each other."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchestrator.adapters.triton import tunable
from orchestrator.cli.tuning import load
from orchestrator.cli.tuning.bench import STOP_S, Bench, Contender, Told
from orchestrator.core.tuning import Setting
from orchestrator.errors import InferenceUnavailable
from orchestrator.settings import Settings
from tests.conftest import Film

pytestmark = pytest.mark.timeout(600)
REPOSITORY = Settings().model_repository
PROFILE = "tune-4"


def bench_of(model: str, clip: Path, folder: Path) -> Bench:
    bench = Bench(REPOSITORY, tunable.read(REPOSITORY, model), clip, folder)
    bench.profiles.mkdir()
    load.write_profiles(load.analyzers_asking(model, REPOSITORY)[0], bench.profiles)
    return bench


@asynccontextmanager
async def contending(bench: Bench, setting: Setting) -> AsyncIterator[Contender]:
    contender = await bench.start(setting)
    try:
        yield contender
    finally:
        await contender.stop()


async def told_by(bench: Bench, setting: Setting) -> Told:
    async with contending(bench, setting) as contender:
        await contender.ready()
        return await contender.run(PROFILE, 1, 120.0)


async def test_a_batch_of_another_size_gives_the_same_answers_to_the_bit(composite: Film, tmp_path: Path):
    """8 and 16, merged and not, in another number of instances; and a graph that computes otherwise is noticed."""
    bench = bench_of("labels", composite.path, tmp_path)
    present = await told_by(bench, Setting(instances=2, threads=1, batch=8))
    assert present.answers.startswith("97:")  # every picture of four a second is answered once, and only once
    for setting in (
        Setting(instances=1, threads=2, batch=4),
        Setting(instances=2, threads=1, batch=16),
        Setting(instances=1, threads=1, batch=16, delay_us=2000),
    ):
        assert (await told_by(bench, setting)).answers == present.answers, setting
    bench.base.config.optimization.graph.level = 2  # none: other kernels, and so other last bits
    assert (await told_by(bench, Setting(instances=2, threads=1, batch=8))).answers != present.answers


async def test_a_config_that_cannot_be_loaded_says_so(composite: Film, tmp_path: Path):
    bench = bench_of("moderation", composite.path, tmp_path)
    bench.base.config.parameters["no_such_setting"].string_value = "1"
    async with contending(bench, bench.base.setting) as contender:
        with pytest.raises(InferenceUnavailable, match="cannot be loaded"):
            await contender.ready()


async def test_a_run_says_what_it_took(composite: Film, tmp_path: Path):
    bench = bench_of("moderation", composite.path, tmp_path)
    async with contending(bench, bench.base.setting) as contender:
        await contender.ready()
        once, twice = await contender.run("tune-2", 1, 120.0), await contender.run("tune-2", 2, 120.0)
    assert (once.run.frames, twice.run.frames) == (49, 98)
    assert twice.run.cpu > 1.5 * once.run.cpu
    assert once.run.cpu > once.run.frames * 0.005  # the model alone, in its own process below Triton
    assert once.run.memory > 200 << 20


async def test_a_contender_ends_with_whoever_started_it_even_amidst_a_run(composite: Film, tmp_path: Path):
    bench = bench_of("moderation", composite.path, tmp_path)
    async with contending(bench, bench.base.setting) as contender:
        await contender.ready()
        running = asyncio.create_task(contender.run("tune-0", 100, 600.0))
        await asyncio.sleep(1.0)
        began = time.monotonic()
        await contender.stop()
        assert time.monotonic() - began < STOP_S / 2  # it was not killed
        with pytest.raises(InferenceUnavailable, match="has ended"):
            await running


async def test_the_command_measures_and_keeps_what_answers_alike(composite: Film, tmp_path: Path):
    """From a config that is wrong for any machine; what it ends with loads, and answers like the present one."""
    repository, spun = tmp_path / "models", Setting(instances=1, threads=2, batch=1, spinning=True)
    tunable.lay_out(REPOSITORY, tunable.read(REPOSITORY, "moderation").with_setting(spun), repository)
    line = [sys.executable, "-m", "orchestrator.cli.main", "models", "tune", "moderation", "--json"]
    line += ["--trials", "2", "--seconds", "1", "--page", str(tmp_path / "tune.html")]
    line += ["--repository", str(repository), "--clip", str(composite.path)]
    done = await asyncio.to_thread(subprocess.run, line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert len(said["trials"]) == 2
    assert all(trial["medians"] for trial in (said["control"], *said["trials"])), "every trial answered, and alike"
    own = tunable.own_config(repository, "moderation", tunable.read(repository, "moderation").version)
    assert said["written"] == own.exists() == (said["best"] != said["start"])
    assert "<circle" in (tmp_path / "tune.html").read_text()

    kept = tunable.read(repository, "moderation")
    assert kept.setting == Setting(**said["best"])
    bench = Bench(repository, kept, composite.path, tmp_path / "again")
    bench.profiles.mkdir(parents=True)
    load.write_profiles(load.analyzers_asking("moderation", REPOSITORY)[0], bench.profiles)
    assert (await told_by(bench, kept.setting)).answers == (await told_by(bench, spun)).answers
