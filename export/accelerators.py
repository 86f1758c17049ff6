"""Configs for NVIDIA's container on a GPU: model_repository/NAME/configs/ACCELERATOR.pbtxt, chosen by ``--model-config-name``.

The committed config.pbtxt has its instances on the CPU, which suits the embedded server (on a GPU it moves them itself) and leaves
NVIDIA's container there as well. So each model has further configs beside it, in the place where Triton looks for them:

- ``cuda``: ONNX Runtime on the GPU, the version at full precision;
- ``tensorrt``: the same, with whatever TensorRT takes of the graph given to it. Engines are built when the model is loaded, by the
  GPU and TensorRT that are there, and kept in a cache.

Engines that are built beforehand are a version of their own: `export.tensorrt`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, get_args

from export.repository import config_message, on_gpu, text_of, write_if_changed
from export.spec import ModelSpec
from export.tensorrt.plan import Profile, dims_asked, profile

Accelerator = Literal["cuda", "tensorrt"]
ACCELERATORS: tuple[Accelerator, ...] = get_args(Accelerator)
CONFIGS_FOLDER = "configs"
ENGINE_CACHE = "/engines"
"""Where the container keeps what TensorRT built: a volume, for the repository is mounted to be read."""


def accelerated(spec: ModelSpec, accelerator: Accelerator, precision: str = "fp32") -> Any:
    """Return Triton's ModelConfig of a model on a GPU; the parameters are those of its C++ backend ``onnxruntime``."""
    message = config_message(spec)
    message.version_policy.specific.versions[:] = [spec.version]  # whatever suits a CPU best
    on_gpu(message, spec.instances)
    wanted = message.optimization.execution_accelerators.gpu_execution_accelerator
    if accelerator == "tensorrt":
        wanted.add(name="tensorrt", parameters=_tensorrt(spec, precision))
    wanted.add(name="cuda", parameters={"use_tf32": "0"} if precision == "fp32" else {})
    _warm_up(message, spec)
    return message


def _warm_up(message: Any, spec: ModelSpec) -> None:
    """Have Triton ask for every shape once before it calls the model ready.

    For a new shape CUDA's kernels are chosen by trial, and TensorRT builds an engine, which can take longer than a request may.
    Triton asks by as many requests of one row as the batch has, which its C++ backend runs as one.
    """
    (only,) = message.input
    for number, dims in enumerate(dims_asked(spec)):
        sample = message.model_warmup.add(name=f"shape {number}", batch_size=spec.max_batch_size)
        sample.inputs[only.name].data_type = only.data_type
        sample.inputs[only.name].dims.extend(dims)
        sample.inputs[only.name].zero_data = True


def _tensorrt(spec: ModelSpec, precision: str) -> dict[str, str]:
    parameters = {
        "precision_mode": precision.upper(),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": ENGINE_CACHE,
        "trt_engine_cache_prefix": spec.name,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": ENGINE_CACHE,
    }
    return parameters | (_shapes(profile(spec)) if taken_whole(spec) else {})


def taken_whole(spec: ModelSpec) -> bool:
    """Whether ONNX Runtime gives TensorRT the whole graph, so that its inputs are the engine's.

    A graph that begins with bytes is divided, for TensorRT does not move them (`export.tensorrt.network` says more), and shapes
    of our inputs would not be those of the parts: ONNX Runtime then refuses to load the model at all. Without a profile it builds
    for the sizes that come along. On a GPU these are few: requests carry whole batches, and free sizes have up to four values.
    """
    return all(tensor.dtype != "UINT8" for tensor in spec.inputs)


def _shapes(shapes: Profile) -> dict[str, str]:
    sizes = {"min": shapes.least, "opt": shapes.usual, "max": shapes.most}
    return {f"trt_profile_{end}_shapes": f"{shapes.tensor}:{'x'.join(map(str, size))}" for end, size in sizes.items()}


def write_configs(repository: Path, spec: ModelSpec) -> None:
    """Write model_repository/NAME/configs/."""
    folder = repository / spec.name / CONFIGS_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for accelerator in ACCELERATORS:
        write_if_changed(folder / f"{accelerator}.pbtxt", text_of(accelerated(spec, accelerator)))
