"""Versions side by side in a real Triton: who is answered by which, and what changes under load."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from orchestrator.adapters.triton.client import Limits, TritonInference
from orchestrator.adapters.triton.hosts import RemoteHost
from orchestrator.adapters.triton.models import TritonModels
from orchestrator.adapters.triton.supervisor import Supervisor
from orchestrator.adapters.triton.transport import InlineTransport
from orchestrator.core.rollout import Stage
from orchestrator.errors import InferenceUnavailable, NotManaged, VersionWithdrawn
from tests.integration.adapters.triton.conftest import BATCH, IMPATIENT, SIDE, Stack, kill, running
from tests.integration.adapters.triton.steering import (
    BASE,
    CANARY,
    PIXELS,
    STAGED,
    steer,
    two_models,
    until,
)
from tests.support.versions import sign, write_version


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return two_models(tmp_path)


async def test_each_analysis_keeps_its_version_to_the_end(repository: Path):
    folder = write_version(repository, 2, asked="sums = sums + 1")
    digest = hashlib.sha256((folder / "model.py").read_bytes()).hexdigest()
    async with running(repository, ["one"]) as stack:
        with stack.inference.pinned("a") as before:
            await steer(stack, CANARY)
            with stack.inference.pinned("a") as after, after.pinned("b") as again:
                await again.ready(["one", "two"])
                assert (before.version("one").version, stack.inference.version("one").version) == ("1", "1")
                version = again.version("one")
                assert (version.name, version.version, version.digest) == ("one", "2", digest)
                assert again.version("two").version == "1"
                assert (stack.models.pinned("one", 1), stack.models.pinned("one", 2)) == (1, 1)
                await steer(stack, CANARY.promoted())  # all pins stay
                await stack.right_answer(inference=before)
                sums = (await again.infer("one", {"image": PIXELS}))["sums"]
                assert (sums == SIDE * SIDE + 1).all()
                assert stack.inference.version("one").version == "2"
                assert again.batch("one") == BATCH
        assert stack.models.measured("one", 2).requests == 1


async def test_a_rolled_back_candidate_is_withdrawn_and_unloaded(repository: Path):
    write_version(repository, 2)
    async with running(repository, ["one"]) as stack:
        await steer(stack, CANARY)
        with stack.inference.pinned("a") as inference:
            await stack.right_answer(inference=inference)
            await steer(stack, CANARY.rolled_back())
            for asked in (inference.infer("one", {"image": PIXELS}), inference.ready(["one"])):
                with pytest.raises(VersionWithdrawn, match="one"):
                    await asked
            await inference.ready(["two"])
            assert stack.models.pinned("one", 2) == 0
            assert stack.supervisor.find("one.2") is None
            with stack.inference.pinned("a") as next_attempt:
                await stack.right_answer(inference=next_attempt)
                assert next_attempt.version("one").version == "1"
        await until(lambda: not stack.host.stubs("one.2"))


async def test_a_hanging_request_of_a_withdrawn_candidate_ends_at_once(repository: Path):
    write_version(repository, 2, asked="time.sleep(60)")
    async with running(repository, ["one"], Limits(request_s=60.0)) as stack:
        await steer(stack, CANARY)
        with stack.inference.pinned("a") as inference:
            task = asyncio.create_task(inference.infer("one", {"image": PIXELS}))
            await asyncio.sleep(0.3)
            began = time.monotonic()
            await steer(stack, CANARY.rolled_back())
            with pytest.raises(VersionWithdrawn):
                await task
            assert time.monotonic() - began < 15  # its stubs may finish for 10 s
        await stack.right_answer()


async def test_who_waits_behind_hanging_requests_does_not_wait_for_them(repository: Path):
    """Neither for a place at a version that is withdrawn, nor at the same version when it is loaded anew."""
    folder = write_version(repository, 2, asked="time.sleep(60)")
    async with running(repository, ["one"], Limits(in_flight=1, request_s=60.0, trial_s=60.0)) as stack:
        await steer(stack, CANARY)
        with stack.inference.pinned("a") as inference:
            asked = [asyncio.create_task(inference.infer("one", {"image": PIXELS})) for _ in range(3)]
            await asyncio.sleep(0.3)
            stack.models.direct({"one": CANARY.rolled_back()})
            _, waiting = await asyncio.wait(asked, timeout=3)
            assert len(waiting) == 1, "only the one that Triton has may go on for a while"
            (folder / "model.py").write_text((folder / "model.py").read_text().replace("time.sleep(60)", "pass"))
            sign(folder, "model.py")
            await steer(stack, CANARY.rolled_back())
            await steer(stack, CANARY)
            with stack.inference.pinned("a") as anew:
                async with asyncio.timeout(15):
                    await stack.right_answer(inference=anew)
            for each in await asyncio.gather(*asked, return_exceptions=True):
                assert isinstance(each, VersionWithdrawn)


async def test_what_is_retired_is_unloaded_once_nobody_is_pinned_to_it(repository: Path):
    write_version(repository, 2)
    async with running(repository, ["one"]) as stack:
        await steer(stack, CANARY)
        promoted = CANARY.promoted()
        await steer(stack, promoted)
        with stack.inference.pinned("old") as inference:
            await steer(stack, promoted.rolled_back())  # a promoted version keeps its pins
            assert stack.models.pinned("one", 2) == 1
            await stack.right_answer(inference=inference)
            assert stack.supervisor.find("one.2") is not None
        await until(lambda: stack.supervisor.find("one.2") is None)
        await until(lambda: not stack.host.stubs("one.2"))
        # The default too: it is the previous version here.
        await steer(stack, STAGED)
        await steer(stack, promoted)
        assert stack.supervisor.find("one") is not None
        await steer(stack, promoted.retired(1))
        assert stack.supervisor.find("one") is None
        await stack.right_answer()
        assert stack.inference.version("one").version == "2"


@pytest.mark.parametrize("harm", ["stub", "server"])
async def test_a_further_version_heals_and_comes_back_like_any(repository: Path, harm: str):
    write_version(repository, 2, instances=2)
    async with running(repository, ["one"]) as stack:
        await steer(stack, CANARY.promoted())
        pid = stack.server.pid if harm == "server" else stack.host.stubs("one.2")[0].pid
        answers, longest = await stack.under_load(lambda: kill(pid), seconds=4)
        assert answers > 20
        assert longest < 10
        assert stack.inference.version("one").version == "2"
        assert len(stack.host.stubs("one.2")) == 2


async def test_what_is_wanted_while_triton_is_away_is_loaded_once_it_is_back(repository: Path):
    write_version(repository, 2)
    async with running(repository, ["one"]) as stack:
        kill(stack.server.pid)
        await stack.eventually("triton.server_ended")
        began = time.monotonic()
        with pytest.raises(InferenceUnavailable):
            await stack.models.hold({"one": [1, 2]})
        assert time.monotonic() - began < 0.5
        await stack.eventually("triton.model_ready", "one.2")
        assert await stack.models.hold({"one": [1, 2]}) == {}


async def test_a_candidate_that_hangs_while_it_heals_is_let_go_at_once(repository: Path):
    folder = write_version(repository, 2)
    async with running(repository, ["one"]) as stack:
        await steer(stack, CANARY)
        code = (folder / "model.py").read_text().replace("self.asked, self.kept = 0, []", "time.sleep(60)")
        (folder / "model.py").write_text(code)
        sign(folder, "model.py")
        with stack.inference.pinned("a") as inference:
            kill(stack.host.stubs("one.2")[0].pid)
            await stack.eventually("triton.healing", "one.2")
            asked = asyncio.create_task(inference.infer("one", {"image": PIXELS}))
            await asyncio.sleep(1.0)
            began = time.monotonic()
            await steer(stack, CANARY.rolled_back())
            with pytest.raises(VersionWithdrawn):
                await asked
            assert time.monotonic() - began < 5
        await stack.right_answer()


async def test_an_idle_candidate_that_broke_counts_against_it(repository: Path):
    write_version(repository, 2)
    async with running(repository, ["one"]) as stack:
        await steer(stack, STAGED)
        kill(stack.host.stubs("one.2")[0].pid)
        await stack.eventually("triton.healed", "one.2")
        assert stack.models.measured("one", 2).failures == 1


async def test_a_candidate_that_cannot_be_healed_does_not_end_the_server(repository: Path):
    write_version(repository, 2, asked="os.abort()")
    async with running(repository, ["one"], Limits(attempts=2)) as stack:
        server = stack.server.pid
        await steer(stack, CANARY)
        (repository / "one/2/model.py").write_text("no")
        with stack.inference.pinned("a") as inference, pytest.raises(InferenceUnavailable):
            await inference.infer("one", {"image": PIXELS})
        await stack.right_answer()
        assert stack.models.measured("one", 2).failures >= 1
        assert stack.models.measured("one", 1).failures == 0
        assert stack.server.pid == server


async def test_a_refusing_candidate_is_no_fault_of_the_analysis(repository: Path):
    write_version(repository, 2, asked="raise RuntimeError('no')")
    async with running(repository, ["one"]) as stack:
        await steer(stack, CANARY)
        with stack.inference.pinned("a") as inference, pytest.raises(InferenceUnavailable):
            await inference.infer("one", {"image": PIXELS})


# --- under load ------------------------------------------------------------------------------------------------------


async def test_promotions_and_rollbacks_under_load_lose_no_request(repository: Path):
    """Each stream holds a pin for some requests, as an analysis does; a withdrawn one goes on with a new pin."""
    write_version(repository, 2)
    async with running(repository, ["one"]) as stack:
        stop, answers, withdrawn, mixed = asyncio.Event(), 0, 0, 0

        async def stream(number: int) -> None:
            nonlocal answers, withdrawn, mixed
            attempt = 0
            while not stop.is_set():
                attempt += 1
                with stack.inference.pinned(f"{number}/{attempt}") as inference:
                    try:
                        await inference.ready(["one"])
                        first = inference.version("one")
                        for _ in range(10):
                            await stack.right_answer(seed=answers, inference=inference)
                            answers += 1
                            mixed += inference.version("one") != first
                    except VersionWithdrawn:
                        withdrawn += 1

        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(stream(number))
            group.create_task(_unpinned(stack, stop))
            rollout = BASE
            for promoted in [True, False] * 20:  # and every other time its trial is broken off
                rollout = rollout.staged(2)
                await steer(stack, rollout)
                rollout = rollout.tried(Stage.CANARY, 0.5)
                await steer(stack, rollout)
                await asyncio.sleep(0.1)
                if promoted:
                    rollout = rollout.promoted()
                    await steer(stack, rollout)
                    await asyncio.sleep(0.1)
                rollout = rollout.rolled_back()
                await steer(stack, rollout)
            stop.set()
        assert answers > 200
        assert mixed == 0
        assert withdrawn > 0, "no canary was at work when it was rolled back"
        assert stack.models.measured("one", 1).failures == 0


async def _unpinned(stack: Stack, stop: asyncio.Event) -> None:
    """Requests without an analysis, as search makes them."""
    while not stop.is_set():
        await stack.right_answer(seed=7)


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def remote(repository: Path) -> AsyncIterator[TritonModels]:
    async with running(repository, ["one"]) as stack:
        host, transport = RemoteHost(stack.server.endpoint.target), InlineTransport()
        supervisor = Supervisor(host, transport, repository, IMPATIENT)
        await supervisor.start()
        inference = TritonInference(supervisor, transport)
        await inference.ready(["one"])
        models = TritonModels(host, supervisor, transport, inference, repository)
        models.direct({"one": CANARY})
        assert inference.version("one").version == "1"
        with inference.pinned("a") as pinned:
            await pinned.infer("one", {"image": PIXELS})
        yield models
        await supervisor.stop()


async def test_a_triton_of_others_is_not_managed(remote: TritonModels, repository: Path):
    write_version(repository, 2)
    assert not remote.managed
    assert remote.default("one") == 1
    assert [each.version for each in await remote.versions("one")] == [1, 2]
    await remote.hold({"one": [1]})
    for asked in (remote.hold({"one": [1, 2]}), remote.examine("one", 2)):
        with pytest.raises(NotManaged):
            await asked
    assert remote.measured("one", 1).requests >= 1
