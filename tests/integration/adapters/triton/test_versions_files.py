"""Files of versions that were tampered with, changed or removed: refused by name, and what served serves on."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from orchestrator.core.rollout import Rail, Rollout
from orchestrator.errors import FilesRefused, InferenceUnavailable
from orchestrator.pipeline.model_ports import RailHit
from tests.integration.adapters.triton.conftest import kill, running
from tests.integration.adapters.triton.steering import CANARY, STABLE_ONLY, STAGED, steer, two_models
from tests.support.versions import seal, sign, write_version


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return two_models(tmp_path)


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
