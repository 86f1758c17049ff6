"""Versions side by side in a real Triton: who is answered by which, and what changes under load."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from orchestrator.adapters.triton.client import Limits, TritonInference
from orchestrator.adapters.triton.hosts import RemoteHost
from orchestrator.adapters.triton.models import TritonModels
from orchestrator.adapters.triton.supervisor import Supervisor
from orchestrator.adapters.triton.transport import InlineTransport
from orchestrator.core.rollout import Rail, Rollout, Stage
from orchestrator.errors import FilesRefused, InferenceUnavailable, NotManaged, VersionWithdrawn
from orchestrator.pipeline.model_ports import RailHit
from tests.integration.adapters.triton.conftest import BATCH, IMPATIENT, SIDE, Stack, kill, running, write_model
from tests.support.versions import seal, sign, write_version

STABLE_ONLY = "version_policy { specific { versions: [1] } }"
BASE = Rollout("one", 1)
STAGED = BASE.staged(2)
CANARY = STAGED.tried(Stage.CANARY, 1.0)
PIXELS = np.ones((BATCH, SIDE, SIDE, 3), np.uint8)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    write_model(tmp_path, "one", config=STABLE_ONLY)
    write_model(tmp_path, "two", config=STABLE_ONLY, instances=1)
    return tmp_path


async def steer(stack: Stack, rollout: Rollout) -> None:
    """What the control plane does after a step."""
    stack.models.direct({"one": rollout})
    assert await stack.models.hold({"one": rollout.wanted}) == {}


async def until(true, within: float = 10.0) -> None:
    async with asyncio.timeout(within):
        while not true():
            await asyncio.sleep(0.01)


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


async def test_files_that_were_changed_under_a_running_version_end_no_server(repository: Path):
    folder = write_version(repository, 2)
    async with running(repository, ["one"]) as stack:
        server = stack.server.pid
        await steer(stack, CANARY.promoted())
        await stack.right_answer()
        assert sorted(path.name for path in folder.iterdir()) == sorted(
            ["config.pbtxt", "golden.npz", "manifest.json", "model.py"]
        ), "Triton left something there"
        (folder / "model.py").write_text("no")
        kill(stack.host.stubs("one.2")[0].pid)
        await stack.eventually("triton.heal_failed", "one.2")
        with pytest.raises(InferenceUnavailable, match=r"model\.py"):
            await stack.right_answer()
        await stack.inference.ready(["two"])
        assert stack.server.pid == server


async def test_an_export_changes_nothing_that_is_served(repository: Path):
    (repository / "one/config.pbtxt").write_text((repository / "one/config.pbtxt").read_text().replace(STABLE_ONLY, ""))
    async with running(repository, ["one"]) as stack:
        write_version(repository, 2, asked="sums = sums + 1")
        kill(stack.server.pid)  # a fresh server reads the repository anew
        await stack.eventually("triton.server_ended")
        await stack.right_answer()
        assert stack.inference.version("one").version == "1"


async def test_a_model_that_was_removed_holds_up_no_other(repository: Path):
    write_version(repository, 2)
    async with running(repository, ["one"]) as stack:
        stack.models.direct({"one": CANARY, "gone": Rollout("gone", 1)})
        hits = await stack.models.hold({"gone": [1, 2], "one": [1, 2]})
        assert {version: hit.rail for version, hit in hits.items()} == {
            ("gone", 1): Rail.FILES,
            ("gone", 2): Rail.FILES,
        }
        assert stack.models.measured("gone", 1).requests == stack.models.pinned("gone", 1) == 0
        with stack.inference.pinned("a") as inference:
            await stack.right_answer(inference=inference)
            assert inference.version("one").version == "2"


# --- shadow ----------------------------------------------------------------------------------------------------------


async def shadowed(stack: Stack, share: float, requests: int) -> list[float]:
    """The waits of ``requests`` right answers, half of them pinned, while the candidate is asked beside."""
    await steer(stack, STAGED.tried(Stage.SHADOW, share))
    waits = []
    with stack.inference.pinned("a") as pinned:
        for seed in range(requests):
            began = time.monotonic()
            await stack.right_answer(seed=seed, inference=pinned if seed % 2 else None)
            waits.append(time.monotonic() - began)
            await asyncio.sleep(0.01)
    return waits


async def test_a_share_of_the_requests_is_compared_and_thrown_away(repository: Path):
    write_version(repository, 2)
    async with running(repository, ["one"]) as stack:
        await shadowed(stack, 0.25, 40)
        await until(lambda: stack.models.measured("one", 2).compared == 10)
        measured = stack.models.measured("one", 2)
        assert (measured.requests, measured.failures, measured.disagreed) == (10, 0, 0)
        assert stack.models.measured("one", 1).requests == 40


async def test_a_shadow_that_answers_otherwise_is_counted(repository: Path):
    write_version(repository, 2, asked="flat = flat[::-1] * 0.5")
    async with running(repository, ["one"]) as stack:
        await shadowed(stack, 1.0, 20)
        await until(lambda: stack.models.measured("one", 2).compared > 10)
        measured = stack.models.measured("one", 2)
        assert measured.disagreed == measured.compared


@pytest.mark.parametrize("asked", ["time.sleep(0.5)", "time.sleep(60)", "os.abort()", "raise RuntimeError('no')"])
async def test_a_bad_shadow_delays_and_fails_nobody(repository: Path, asked: str):
    write_version(repository, 2, asked=asked)
    async with running(repository, ["one"]) as stack:
        waits = await shadowed(stack, 1.0, 60)
        assert np.percentile(waits, 90) < 0.1
        assert max(waits) < 1.0
        assert stack.models.measured("one", 1).failures == 0
        if "sleep" in asked:
            (shadow,) = stack.inference.shadows.values()
            assert shadow.shed > 30, "it piles up"
            assert stack.arena.in_use > 0, "what it reads must stay"
        await steer(stack, BASE)
        async with asyncio.timeout(15):  # else a slot would never come home
            while stack.arena.in_use or stack.transport.scratch.in_use:
                await asyncio.sleep(0.05)


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


async def test_tampered_files_are_refused_by_name_and_the_old_version_serves(repository: Path):
    folder = write_version(repository, 2)
    (folder / "model.py").write_text((folder / "model.py").read_text() + "# changed")
    seal(repository / "two/1", "model.onnx")
    weights = (repository / "two/1/model.onnx").read_bytes()
    (repository / "two/1/model.onnx").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    async with running(repository, ["one"]) as stack:
        with pytest.raises(RailHit, match=r"one version 2.*model\.py") as caught:
            await stack.models.examine("one", 2)
        assert caught.value.hit.rail is Rail.FILES
        hits = await stack.models.hold({"one": [1, 2], "two": [1]})
        assert {version: hit.rail for version, hit in hits.items()} == {("one", 2): Rail.FILES, ("two", 1): Rail.FILES}
        assert "model.py" in hits["one", 2].detail
        with pytest.raises(InferenceUnavailable, match=r"two version 1.*model\.onnx") as refused:
            await stack.inference.ready(["two"])
        assert isinstance(refused.value.__cause__, FilesRefused)
        (_, second), (two,) = [await stack.models.versions(name) for name in ("one", "two")]
        assert "model.py" in second.defect
        assert "model.onnx" in two.defect
        await stack.right_answer()


def with_weights_in(folder: Path, stable: Path, location: str) -> None:
    """The stable model, and weights kept in ``location``, which change nothing."""
    folder.mkdir()
    model = onnx.load(stable / "model.onnx")
    (summing,) = [node for node in model.graph.node if node.op_type == "ReduceSum"]
    summing.output[0] = "unweighted"
    model.graph.node.append(onnx.helper.make_node("Mul", ["unweighted", "weights"], ["sums"]))
    weights = onnx.numpy_helper.from_array(np.ones(3, np.float32), "weights")
    (folder / location).write_bytes(weights.raw_data)
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    model.graph.initializer.append(weights)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    seal(folder, "model.onnx")


async def test_weights_beside_the_model_are_served_and_weights_elsewhere_refused(repository: Path):
    stable = repository / "one/1"
    with_weights_in(repository / "one/2", stable, "weights.bin")
    with_weights_in(repository / "one/3", stable, "../weights.bin")
    with_weights_in(repository / "one/4", stable, "weights.bin")
    (repository / "one/4/model.onnx").write_bytes((repository / "one/4/model.onnx").read_bytes()[:-40])
    sign(repository / "one/4", "model.onnx")
    async with running(repository, ["one"]) as stack:
        await stack.models.examine("one", 2)
        await steer(stack, STAGED.promoted())
        await stack.right_answer()
        for version, says in ((3, r"keeps weights in '\.\./weights\.bin'"), (4, "cut short")):
            with pytest.raises(RailHit, match=rf"one version {version} .*{says}") as caught:
                await stack.models.examine("one", version)
            assert caught.value.hit.rail is Rail.FILES
        await stack.right_answer()


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
