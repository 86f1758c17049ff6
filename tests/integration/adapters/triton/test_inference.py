"""Answers of a real Triton, by reference and inline."""

import asyncio
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import structlog

from orchestrator.adapters.triton import placement
from orchestrator.adapters.triton.connection import Connection
from orchestrator.adapters.triton.repository import Repository
from orchestrator.adapters.triton.transport import Call, InlineTransport
from orchestrator.errors import InferenceUnavailable, InternalError
from tests.integration.adapters.triton.conftest import BATCH, SIDE, Stack, running, write_model

SHAPE = (BATCH, SIDE, SIDE, 3)


async def test_a_slot_is_answered_by_reference(stack: Stack):
    await asyncio.gather(*(stack.right_answer(seed=seed) for seed in range(20)))


async def test_a_repository_may_lie_anywhere(tmp_path: Path):
    odd = tmp_path / "My models; $(exit 1) 'é"
    write_model(odd, "one")
    async with running(odd, ["one"]) as stack:
        await stack.right_answer()


async def test_no_tensor_bytes_travel_in_messages(stack: Stack, monkeypatch: pytest.MonkeyPatch):
    seen = []
    plain = Connection.infer

    async def spied(self, request):
        response = await plain(self, request)
        raw = [
            *request.raw_input_contents,
            *response.raw_output_contents,
        ]  # Triton names each output, and leaves it empty
        seen.append((max(request.ByteSize(), response.ByteSize()), sum(map(len, raw))))
        return response

    monkeypatch.setattr(Connection, "infer", spied)
    await stack.right_answer()
    await stack.inference.infer("one", {"image": np.zeros(SHAPE, np.uint8)})  # an array is copied to the arena
    assert len(seen) >= 2  # the two, and perhaps a probe
    assert all(size < 1000 and raw == 0 for size, raw in seen)


async def test_a_remote_triton_gets_and_gives_the_same_inline(stack: Stack):
    pixels = np.random.default_rng(1).integers(0, 256, SHAPE, np.uint8)
    model, connection = await stack.supervisor.healed("one")
    ended = []
    for value in (pixels, (slot := await stack.arena.allocate(pixels.nbytes))):
        slot.array(SHAPE)[...] = pixels
        call = Call.check(model.contract, {"image": value})
        outputs = await InlineTransport().attempt(connection, call, lambda: ended.append(1))
        np.testing.assert_array_equal(outputs["sums"], pixels.sum((1, 2), dtype=np.float32))
    slot.release()
    assert len(ended) == 2


async def test_a_part_of_a_slot_is_a_batch(stack: Stack):
    size = int(np.prod(SHAPE))
    with await stack.arena.allocate(2 * size) as slot:
        slot.array((2, *SHAPE))[1] = 3
        slot.array((2, *SHAPE))[0] = 1
        outputs = await stack.inference.infer("one", {"image": slot.part(size, size)})
    assert outputs["sums"].tolist() == [[3 * SIDE * SIDE] * 3] * BATCH


async def test_outputs_are_owned(stack: Stack):
    first = (await stack.inference.infer("one", {"image": np.full(SHAPE, 7, np.uint8)}))["sums"]
    await stack.inference.infer("one", {"image": np.full(SHAPE, 9, np.uint8)})
    assert (first == 7 * SIDE * SIDE).all()
    first[...] = 0


async def test_variable_dims_are_bounded_by_the_caller(repository: Path):
    write_model(repository, "any", dims="-1, -1, 3")
    async with running(repository, ["any"]) as stack:
        for height, width, room in ((4, 6, 72), (5, 5, 200)):
            pixels = np.full((BATCH, height, width, 3), 2, np.uint8)
            with await stack.arena.allocate(pixels.nbytes) as slot:
                slot.array(pixels.shape)[...] = pixels
                outputs = await stack.inference.infer(
                    "any", {"image": slot}, shapes={"image": pixels.shape}, output_dims={"flat": (room,)}
                )
            assert outputs["flat"].shape == (BATCH, height * width * 3)
            assert (outputs["flat"] == 2).all()
        with pytest.raises(ValueError, match="variable dims"):
            await stack.inference.infer("any", {"image": pixels})
        with pytest.raises(InternalError):
            await stack.inference.infer("any", {"image": pixels}, output_dims={"flat": (3,)})


@pytest.mark.parametrize(
    ("inputs", "rule"),
    [
        ({"image": np.zeros((BATCH - 1, SIDE, SIDE, 3), np.uint8)}, "exactly 8 rows"),
        ({"image": np.zeros((BATCH, SIDE, SIDE + 1, 3), np.uint8)}, "has dims"),
        ({"image": np.zeros(SHAPE, np.float32)}, "takes image as uint8"),
        ({"picture": np.zeros(SHAPE, np.uint8)}, "takes"),
    ],
)
async def test_a_wrong_input_is_refused_here(stack: Stack, inputs, rule: str):
    with pytest.raises(ValueError, match=rule):
        await stack.inference.infer("one", inputs)
    await stack.right_answer()


async def test_what_answers_is_known(stack: Stack, repository: Path):
    version = stack.inference.version("one")
    digest = hashlib.sha256((repository / "one/1/model.onnx").read_bytes()).hexdigest()
    assert (version.name, version.version, version.digest) == ("one", "1", digest)
    assert stack.inference.batch("one") == BATCH


async def test_metrics_count_rows_and_executions(stack: Stack):
    before = (await stack.supervisor.metrics())["one"]
    for seed in range(6):
        await stack.right_answer(seed=seed)
    after = (await stack.supervisor.metrics())["one"]
    assert after.inferences - before.inferences >= 6 * BATCH
    assert (after.inferences - before.inferences) == BATCH * (after.executions - before.executions)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ('parameters { key: "intra_op_threads" value: { string_value: "1" } }', "intra_op_threads"),
        ('parameters { key: "execution_mode" value: { string_value: "fast" } }', "execution_mode"),
        ("optimization { execution_accelerators { gpu_execution_accelerator: [{ name: 'openvino' }] } }", "openvino"),
    ],
)
async def test_a_setting_that_is_not_honoured_fails_at_load(repository: Path, config: str, says: str):
    write_model(repository, "broken", config=config)
    async with running(repository, ["one"]) as stack:
        with structlog.testing.capture_logs() as logs, pytest.raises(InferenceUnavailable, match="broken") as caught:
            await stack.inference.ready(["broken"])
        assert says not in str(caught.value)  # native words stay in the log
        assert any(says in str(line.get("error")) for line in logs)
        await stack.right_answer()  # and harms no other


async def test_a_model_is_loaded_with_another_config(stack: Stack, repository: Path):
    """As for a GPU, but that there is none: its instances stay on the CPU, and there are three."""
    placed = json.loads(placement.config(Repository(repository), "two", 1, "two", 0))
    placed["instance_group"] = [{"count": 3, "kind": "KIND_CPU"}]
    connection = Connection(stack.server.endpoint)
    try:
        await connection.load("two", 20.0, json.dumps(placed))
        assert (await connection.contract("two")).instances == 3
    finally:
        await connection.close()
    await stack.inference.ready(["two"])
    await stack.right_answer("two")


async def test_a_model_that_does_not_exist_fails(stack: Stack):
    with pytest.raises(InferenceUnavailable):
        await stack.inference.ready(["absent"])
    with pytest.raises(InferenceUnavailable):
        await stack.inference.infer("never asked for", {})


async def test_no_backend_traceback_is_logged(stack: Stack):
    await stack.right_answer()
    assert "Traceback" not in stack.server.log_file.read_text()


async def test_restricted_calls_need_the_key(stack: Stack):
    import grpc
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    async with grpc.aio.insecure_channel(stack.server.endpoint.target) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for method, request in (
            (stub.RepositoryModelUnload, service_pb2.RepositoryModelUnloadRequest(model_name="one")),
            (stub.SystemSharedMemoryStatus, service_pb2.SystemSharedMemoryStatusRequest()),
            (stub.LogSettings, service_pb2.LogSettingsRequest()),
            (stub.TraceSetting, service_pb2.TraceSettingRequest()),
        ):
            with pytest.raises(grpc.RpcError, match="restricted"):
                await method(request)
    await stack.right_answer()
