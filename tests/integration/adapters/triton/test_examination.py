"""Versions of every character are examined by a real Triton, while the stable one serves."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest

from orchestrator.adapters.frames import shm
from orchestrator.adapters.triton.examination import Patience as Examining
from orchestrator.core.rollout import Budgets, Rail
from orchestrator.errors import NotFound
from orchestrator.pipeline.model_ports import RailHit
from tests.integration.adapters.triton.conftest import Stack, running, write_model
from tests.support.versions import seal, sign, write_version

STABLE_ONLY = "version_policy { specific { versions: [1] } }"
QUICK = Examining(load_s=5.0, answer_s=3.0, timed=6, repeated=30)
STRICT = Budgets(
    latency_ratio=3.0, latency_slack_s=0.03, growth_bytes=16 << 20, memory_ratio=1.0, memory_slack_bytes=64 << 20
)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    write_model(tmp_path, "one", config=STABLE_ONLY)
    return tmp_path


@asynccontextmanager
async def serving(repository: Path) -> AsyncIterator[Stack]:
    """The stable version answers one stream all the time; each answer is right, and none is late for the candidate's sake."""
    async with running(repository, ["one"], budgets=STRICT, examining=QUICK) as stack:
        server, stop, waits = stack.server.pid, asyncio.Event(), []

        async def stream() -> None:
            while not stop.is_set():
                began = time.monotonic()
                await stack.right_answer(seed=len(waits))
                waits.append(time.monotonic() - began)
                await asyncio.sleep(0.01)

        task = asyncio.create_task(stream())
        try:
            yield stack
            served = len(waits)
            while len(waits) < served + 20:  # and afterwards
                await asyncio.sleep(0.01)
        finally:
            stop.set()
            await task
        assert max(waits) < 2.0
        measured = stack.models.measured("one", 1)
        assert measured.failures == 0
        assert measured.requests >= len(waits)
        assert stack.server.pid == server, "the server was restarted"


@pytest.mark.parametrize("instances", [1, 2])
async def test_a_good_version_passes_and_stays_loaded(repository: Path, instances: int):
    write_version(repository, 2, instances=instances)
    async with serving(repository) as stack:
        evidence = await stack.models.examine("one", 2)
        assert evidence["parity_sums"] == 0
        assert evidence["golden_batches"] == 2
        assert 0 < evidence["latency_ratio"] < 10
        assert evidence["resident_bytes"] > 10 << 20
        assert evidence["stable_resident_bytes"] > 10 << 20
        first, second = await stack.models.versions("one")
        assert (first.version, first.loaded, first.defect) == (1, True, "")
        assert (second.version, second.loaded, second.defect) == (2, True, "")
        assert (second.precision, second.licence, dict(second.parity)) == ("fp16", "Apache-2.0", {"sums": 0.5})
        assert len(stack.host.stubs("one.2")) == instances


async def test_an_onnx_version_passes_with_another_batch(repository: Path, tmp_path: Path):
    write_model(tmp_path / "other", "one", instances=1)
    (repository / "one" / "2").mkdir()
    (tmp_path / "other/one/1/model.onnx").rename(repository / "one/2/model.onnx")
    config = (tmp_path / "other/one/config.pbtxt").read_text().replace("max_batch_size: 8", "max_batch_size: 2")
    (repository / "one/2/config.pbtxt").write_text(config)
    seal(repository / "one/2", "model.onnx")
    async with serving(repository) as stack:
        evidence = await stack.models.examine("one", 2)
        assert evidence["parity_flat"] == 0


WRONG_SHAPE = "flat = flat[:, :5]"
MISBEHAVIOURS = {
    "crashes when it is loaded": ({"loading": "os.abort()"}, Rail.LOAD),
    "hangs when it is loaded": ({"loading": "time.sleep(60)"}, Rail.LOAD),
    "raises when it is loaded": ({"loading": "raise RuntimeError('no')"}, Rail.LOAD),
    "has another contract": ({"flat": "flattened"}, Rail.LOAD),
    "crashes when it is asked": ({"asked": "os.abort()"}, Rail.ERRORS),
    "crashes after a while": ({"asked": "self.asked > 12 and os.abort()"}, Rail.ERRORS),
    "hangs": ({"asked": "time.sleep(60)"}, Rail.ERRORS),
    "raises": ({"asked": "raise RuntimeError('no')"}, Rail.ERRORS),
    "answers wrongly": ({"asked": "sums = sums + 1"}, Rail.PARITY),
    "answers with what is no number": ({"asked": "sums = sums * np.float32('nan')"}, Rail.PARITY),
    "answers in another shape": ({"asked": WRONG_SHAPE}, Rail.PARITY),
    "is slow": ({"asked": "time.sleep(0.15)"}, Rail.LATENCY),
    "leaks": ({"asked": "self.kept.append(os.urandom(1 << 20))"}, Rail.MEMORY),
    "is large": ({"loading": "self.kept = os.urandom(240 << 20)"}, Rail.MEMORY),
}


@pytest.mark.parametrize(("how", "rail"), MISBEHAVIOURS.values(), ids=MISBEHAVIOURS)
async def test_a_bad_version_is_caught_and_the_stable_one_serves_on(repository: Path, how: dict[str, str], rail: Rail):
    write_version(repository, 2, **how)  # type: ignore[arg-type]
    async with serving(repository) as stack:
        with pytest.raises(RailHit) as caught:
            await stack.models.examine("one", 2)
        assert caught.value.hit.rail is rail, caught.value
        assert stack.supervisor.find("one.2") is None
        async with asyncio.timeout(12):
            while any("one.2" in argument for argument in _stub_arguments(stack)):
                await asyncio.sleep(0.05)
    assert not list(shm.SHM.glob(f"{stack.server.name}*"))


async def test_the_same_name_is_examined_again_once_it_was_mended(repository: Path):
    folder = write_version(repository, 2, asked="os.abort()")
    async with serving(repository) as stack:
        with pytest.raises(RailHit):
            await stack.models.examine("one", 2)
        (folder / "model.py").write_text((folder / "model.py").read_text().replace("os.abort()", "pass"))
        sign(folder, "model.py")
        await stack.models.examine("one", 2)
        await stack.models.hold({"one": [1, 2]})
        assert stack.supervisor.find("one.2") is not None


async def test_an_examination_that_is_called_off_leaves_nothing(repository: Path):
    write_version(repository, 2, asked="time.sleep(60)")
    async with serving(repository) as stack:
        task = asyncio.create_task(stack.models.examine("one", 2))
        await stack.eventually("triton.model_ready", "one.2")
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert stack.supervisor.find("one.2") is None


async def test_a_version_that_is_not_there(repository: Path):
    async with serving(repository) as stack:
        with pytest.raises(NotFound):
            await stack.models.examine("one", 7)
        with pytest.raises(NotFound):
            await stack.models.examine("nine", 1)


async def test_an_old_export_passes_without_golden_answers_and_says_so(repository: Path):
    folder = write_version(repository, 2)
    (folder / "golden.npz").unlink()
    sign(folder, "model.py")
    manifest = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(manifest.replace('"golden": {', '"gilded": {'))
    async with serving(repository) as stack:
        evidence = await stack.models.examine("one", 2)
        assert "not checked" in str(evidence["parity"])
        assert float(evidence["latency_s"]) > 0


def _stub_arguments(stack: Stack) -> list[str]:
    found: list[str] = []
    for child in psutil.Process(stack.server.pid).children(recursive=True):
        with suppress(psutil.Error):
            found += child.cmdline()
    return found
