"""A real Triton, on a machine without a GPU, reads the configs that are meant for one: the choice, and the refusals."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from export import registry
from export.accelerators import ACCELERATORS, accelerated
from export.repository import text_of
from export.tensorrt.plan import Architecture, plan
from orchestrator.adapters.triton import server
from orchestrator.adapters.triton.connection import Connection
from tests.integration.adapters.triton.conftest import Stack, running, write_model

MODELS = [spec.name for spec in registry.SPECS]


def place(repository: Path, config: str, name: str, *, as_config: str = "") -> None:
    """Model ``name`` with this config, beside its own where ``as_config`` names it."""
    write_model(repository, name)
    folder = repository / name
    if as_config:
        (folder / "configs").mkdir()
        (folder / "configs" / f"{as_config}.pbtxt").write_text(config)
    else:
        (folder / "config.pbtxt").write_text(config)


@pytest.fixture
def choosing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start Triton as ops/docker/gpu.yml does."""
    usual = server._command
    monkeypatch.setattr(server, "_command", lambda *given: [*usual(*given), "--model-config-name=cuda"])


async def refusal(stack: Stack, name: str) -> str:
    connection = Connection(stack.server.endpoint)
    try:
        with pytest.raises(grpc.RpcError) as raised:
            await connection.load(name, 30)
    finally:
        await connection.close()
    return str(raised.value.details())


@pytest.mark.usefixtures("choosing")
async def test_triton_takes_the_config_that_the_container_names(tmp_path: Path) -> None:
    write_model(tmp_path, "one")
    write_model(tmp_path, "two")
    config = text_format.Parse((tmp_path / "two" / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    config.max_batch_size = 3
    (tmp_path / "two" / "configs").mkdir()
    (tmp_path / "two" / "configs" / "cuda.pbtxt").write_text(text_of(config))
    async with running(tmp_path, []) as stack:
        connection = Connection(stack.server.endpoint)
        try:
            for name, batch in (("one", 8), ("two", 3)):  # the first has no other config
                await connection.load(name, 30)  # as the container does, which is given none
                assert (await connection.contract(name)).batch == batch
        finally:
            await connection.close()


@pytest.mark.usefixtures("choosing")
@pytest.mark.parametrize("accelerator", ACCELERATORS)
async def test_a_gpus_config_is_read_whole_and_refused_for_want_of_a_gpu(tmp_path: Path, accelerator: str) -> None:
    write_model(tmp_path, "one")
    for spec in registry.SPECS:
        place(tmp_path, text_of(accelerated(spec, accelerator)), spec.name, as_config="cuda")  # type: ignore[arg-type]
    async with running(tmp_path, ["one"]) as stack:
        for name in MODELS:
            assert "KIND_GPU" in await refusal(stack, name)
        await stack.right_answer()


async def test_engines_are_refused_where_triton_has_no_tensorrt_and_others_go_on(tmp_path: Path) -> None:
    write_model(tmp_path, "one")
    for spec in registry.SPECS:
        place(tmp_path, text_of(plan(spec, "fp32", [Architecture(9, 0)]).config(1)), spec.name)
    async with running(tmp_path, ["one"]) as stack:
        for name in MODELS:
            assert "unable to find backend library for backend 'tensorrt'" in await refusal(stack, name)
        await stack.right_answer()
