"""Models on a GPU: engines that the export builds answer as the exported file does, and NVIDIA's Triton serves them, and the ONNX file."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from export import golden, manifest, registry, versions
from export.accelerators import ENGINE_CACHE
from export.commands import export_models, export_variant, write_configs_of
from export.spec import ModelSpec
from export.tensorrt.device import first_gpu
from export.variant import Variant
from orchestrator.adapters.triton.client import TritonInference
from orchestrator.adapters.triton.hosts import RemoteHost
from orchestrator.adapters.triton.supervisor import Patience, Supervisor
from orchestrator.adapters.triton.transport import InlineTransport

PROMISED = bool(os.environ.get("REELSIFT_GPU_PROMISED"))
LOOSER = 10.0
"""How many times further from the CPU's answer than the export's tolerance an FP32 engine may be. A guess: it was never measured."""
EQUAL_INDICES = 0.95
SERVER = shutil.which("tritonserver") or "/opt/tritonserver/bin/tritonserver"
by_model = pytest.mark.parametrize("spec", registry.SPECS, ids=lambda s: s.name)

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(autouse=True)
def installed() -> None:
    """Where a GPU is promised, so is TensorRT."""
    if find_spec("tensorrt") is None and not PROMISED:
        pytest.skip("TensorRT is not installed: pip install tensorrt-cu13")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository of its own."""
    return tmp_path_factory.mktemp("models")


def with_engine(models: Path, spec: ModelSpec) -> Path:
    """The version folder with this GPU's engine; built on first use."""
    variant = Variant(spec, target="tensorrt")
    export_variant(variant, models)
    return versions.folder(models, variant)


def answers(engine: bytes, tensor: str, batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """What TensorRT's own runtime makes of a batch."""
    import tensorrt as trt
    import torch

    types = {trt.DataType.FLOAT: torch.float32, trt.DataType.INT32: torch.int32, trt.DataType.UINT8: torch.uint8}
    runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
    opened = runtime.deserialize_cuda_engine(engine)
    context = opened.create_execution_context()
    given = torch.from_numpy(batch).cuda()
    context.set_input_shape(tensor, batch.shape)
    context.set_tensor_address(tensor, given.data_ptr())
    outputs: dict[str, Any] = {}
    for number in range(opened.num_io_tensors):
        name = opened.get_tensor_name(number)
        if opened.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT:
            shape = tuple(context.get_tensor_shape(name))
            outputs[name] = torch.empty(shape, dtype=types[opened.get_tensor_dtype(name)], device="cuda")
            context.set_tensor_address(name, outputs[name].data_ptr())
    stream = torch.cuda.Stream()
    assert context.execute_async_v3(stream.cuda_stream)
    stream.synchronize()
    return {name: output.cpu().numpy() for name, output in outputs.items()}


def assert_alike(spec: ModelSpec, got: dict[str, NDArray[Any]], wanted: dict[str, NDArray[Any]]) -> None:
    for tensor in spec.outputs:
        ours, theirs = got[tensor.name], wanted[tensor.name]
        assert ours.shape == theirs.shape
        if tensor.dtype == "INT32":
            assert np.mean(ours == theirs) >= EQUAL_INDICES, tensor.name
        else:
            difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max()
            assert difference <= LOOSER * tensor.tolerance, tensor.name


@by_model
def test_an_engine_answers_as_the_exported_file(models: Path, spec: ModelSpec) -> None:
    folder = with_engine(models, spec)
    built = manifest.read(folder)
    assert built is not None
    engine = (folder / built.engines[str(first_gpu().architecture)]["file"]).read_bytes()
    for batch in golden.read(folder / manifest.GOLDEN_FILE):
        ((tensor, frames),) = batch.inputs.items()
        assert_alike(spec, answers(engine, tensor, frames), batch.outputs)


@asynccontextmanager
async def tritonserver(models: Path, names: list[str], config: str) -> AsyncIterator[str]:
    """NVIDIA's Triton over the repository, as ops/docker/gpu.yml starts it; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        SERVER,
        f"--model-repository={models}",
        "--disable-auto-complete-config",
        f"--model-config-name={config}",
    ]
    command += ["--model-control-mode=explicit", *(f"--load-model={name}" for name in names)]
    command += ["--allow-http=false", "--allow-metrics=false", f"--grpc-port={port}", "--grpc-address=127.0.0.1"]
    server = await asyncio.create_subprocess_exec(*command, env=os.environ | {"NVIDIA_TF32_OVERRIDE": "0"})
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.terminate()
        await server.wait()


@pytest.fixture
def with_server() -> None:
    """Where a GPU is promised, so is NVIDIA's Triton."""
    if not Path(SERVER).exists() and not PROMISED:
        pytest.skip("no tritonserver here; Triton's TensorRT backend comes in NVIDIA's container alone")


@pytest.mark.usefixtures("with_server")
@pytest.mark.parametrize("config", ["engine", "cuda", "tensorrt"])
async def test_nvidias_triton_serves_it(models: Path, tmp_path: Path, config: str) -> None:
    (spec,) = registry.specs(["labels"])
    folder = with_engine(models, spec)
    export_models([spec.name], models)
    (served,) = write_configs_of([spec.name], models, str(first_gpu().architecture))
    assert served.why == ""
    chosen = models / spec.name / "configs" / f"{config}.pbtxt"
    chosen.write_text(chosen.read_text().replace(ENGINE_CACHE, str(tmp_path)))
    (batch, *_) = golden.read(folder / manifest.GOLDEN_FILE)
    ((tensor, frames),) = batch.inputs.items()
    whole = np.zeros((spec.max_batch_size, *frames.shape[1:]), frames.dtype)
    whole[: len(frames)] = frames
    async with tritonserver(models, [spec.name], config) as address:
        transport = InlineTransport()
        supervisor = Supervisor(RemoteHost(address), transport, models, Patience(load_s=600))
        await supervisor.start()
        try:
            inference = TritonInference(supervisor, transport)
            await inference.ready([spec.name])
            outputs = await inference.infer(spec.name, {tensor: whole})
            assert inference.version(spec.name).version == str(served.version if config == "engine" else spec.version)
        finally:
            await supervisor.stop()
    assert_alike(spec, {name: array[: len(frames)] for name, array in outputs.items()}, batch.outputs)
