"""The build of an engine: the one place that calls TensorRT."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import structlog
from platformdirs import user_cache_dir

from export.errors import EngineError, MissingError
from export.tensorrt.plan import Architecture, EnginePlan

_SEVEREST_KEPT = 20
_log = structlog.get_logger()


def tensorrt() -> Any:
    """Return the module of TensorRT.

    Raises:
        MissingError: it is not installed, or its libraries do not load.
    """
    try:
        return importlib.import_module("tensorrt")
    except ImportError as error:
        raise MissingError(
            "TensorRT is not installed: `pip install tensorrt-cu13` in the version of the Triton that will serve the engine "
            f"(NVIDIA's own package index has its libraries): {error}"
        ) from error


def timing_cache(trt: Any, architecture: Architecture) -> Path:
    """Where measured times of kernels are kept, so that the next build need not measure them again. They hold for one GPU and release."""
    return (
        Path(user_cache_dir("reelsift"))
        / "tensorrt"
        / f"timing-{trt.__version__}-{architecture.file.rpartition('.')[2]}.cache"
    )


def build(network: bytes, plan: EnginePlan, cache: Path, trt: Any) -> bytes:
    """Return the serialised engine of an ONNX model for the GPU here.

    Args:
        network: the model in TensorRT's terms, see `network.adapted`.
        plan: its shapes and precision.
        cache: file of measured kernel times, read and written.
        trt: the module of TensorRT.

    Raises:
        EngineError: TensorRT refuses the network or the shapes, in its words.
    """
    name = plan.spec.name
    log = _logger(trt)
    try:
        builder = trt.Builder(log)
        # Since TensorRT 11 every network is strongly typed, and the flag does nothing.
        parsed = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(parsed, log)
        config = builder.create_builder_config()
    except TypeError as error:  # how its bindings say that a factory returned nothing
        raise EngineError(f"{name}: TensorRT cannot begin: {_said(log, error)}") from error
    if not parser.parse(network):
        errors = [parser.get_error(number) for number in range(parser.num_errors)]
        raise EngineError(f"{name}: TensorRT does not parse the network: {'; '.join(e.desc() for e in errors)}")
    _check_tensors(parsed, plan)
    if not plan.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    shapes = builder.create_optimization_profile()
    shapes.set_shape(plan.profile.tensor, plan.profile.least, plan.profile.usual, plan.profile.most)
    if config.add_optimization_profile(shapes) < 0:
        raise EngineError(f"{name}: TensorRT refuses the shapes {plan.profile}: {_said(log)}")
    _use(config, cache)
    engine = builder.build_serialized_network(parsed, config)
    if engine is None:
        raise EngineError(f"{name}: TensorRT builds no engine: {_said(log)}")
    _keep(config, cache)
    return bytes(engine)


def _check_tensors(network: Any, plan: EnginePlan) -> None:
    """EngineError unless the parsed network has the plan's tensors: TensorRT would serve another contract without a word."""
    got = {network.get_input(n).name for n in range(network.num_inputs)}
    got |= {network.get_output(n).name for n in range(network.num_outputs)}
    wanted = {tensor.name for tensor in (*plan.spec.inputs, *plan.spec.outputs)}
    if got != wanted:
        raise EngineError(
            f"{plan.spec.name}: the parsed network has the tensors {sorted(got)}, declared are {sorted(wanted)}"
        )


def _use(config: Any, cache: Path) -> None:
    known = cache.read_bytes() if cache.exists() else b""
    if not config.set_timing_cache(config.create_timing_cache(known), ignore_mismatch=False):
        _log.warning("the timing cache is of another GPU or release, measuring anew", cache=str(cache))
        config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)


def _keep(config: Any, cache: Path) -> None:
    measured = config.get_timing_cache()
    if measured is None:
        return
    cache.parent.mkdir(parents=True, exist_ok=True)
    staging = cache.with_name(f"{cache.name}.{os.getpid()}")
    staging.write_bytes(bytes(measured.serialize()))
    os.replace(staging, cache)


def _said(log: Any, error: Exception | None = None) -> str:
    """What TensorRT logged as errors, its only explanation, else the error itself."""
    return "; ".join(log.errors) or str(error or "it does not say why")


def _logger(trt: Any) -> Any:
    """A logger of TensorRT's that remembers errors and hands warnings on; its base class exists only once TensorRT is loaded."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR and len(self.errors) < _SEVEREST_KEPT:
                self.errors.append(message.strip())
            elif severity == trt.ILogger.Severity.WARNING:
                _log.warning("tensorrt", said=message.strip())

    return Logger()
