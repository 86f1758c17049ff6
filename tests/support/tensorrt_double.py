"""TensorRT in memory: the few calls that `export.tensorrt.engine` makes of it, with the answers and refusals of the real one.

It follows the Python API of TensorRT 11.4, and what the libraries under it were seen to do when they were asked the same
(`tests/integration/export/test_tensorrt_parser.py`): `parse` is false and leaves errors, `add_optimization_profile` answers -1 for
shapes that contradict themselves, a build without success is None and its reason is in the log. That `set_timing_cache` refuses
another GPU's is NVIDIA's documentation; those libraries measure nothing. It builds nothing: its engine is a text of what was asked.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import onnx

__version__ = "11.4.0"


class BuilderFlag(enum.Enum):
    TF32 = 5


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class Severity(enum.IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3


class ILogger:
    Severity = Severity

    def __init__(self) -> None:
        pass


@dataclass
class Behaviour:
    """What goes wrong, and what was asked."""

    no_driver: bool = False
    parse_error: str = ""
    refuses_shapes: bool = False
    build_error: str = ""
    drops_output: bool = False
    foreign_cache: bytes = b""
    flags: int = 0
    cleared: list[BuilderFlag] = field(default_factory=list)
    shapes: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    caches: list[bytes] = field(default_factory=list)


class Network:
    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self.inputs: list[str] = []
        self.outputs: list[str] = []

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    @property
    def num_outputs(self) -> int:
        return len(self.outputs)

    def get_input(self, number: int) -> SimpleNamespace:
        return SimpleNamespace(name=self.inputs[number])

    def get_output(self, number: int) -> SimpleNamespace:
        return SimpleNamespace(name=self.outputs[number])


class Config:
    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._cache: bytes | None = None
        self.profiles: list[Profile] = []

    def clear_flag(self, flag: BuilderFlag) -> None:
        self._behaviour.cleared.append(flag)

    def add_optimization_profile(self, profile: Profile) -> int:
        if self._behaviour.refuses_shapes:
            return -1
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, known: bytes) -> bytes:
        self._behaviour.caches.append(known)
        return known

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        if cache and cache == self._behaviour.foreign_cache and not ignore_mismatch:
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> SimpleNamespace | None:
        cache = self._cache
        return None if cache is None else SimpleNamespace(serialize=lambda: cache + b"measured ")


class Profile:
    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour

    def set_shape(self, tensor: str, least: Any, usual: Any, most: Any) -> None:
        self._behaviour.shapes[tensor] = (least, usual, most)


class Module:
    """Stands for the module ``tensorrt``."""

    BuilderFlag, NetworkDefinitionCreationFlag, ILogger = BuilderFlag, NetworkDefinitionCreationFlag, ILogger
    __version__ = __version__

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.behaviour = behaviour or Behaviour()

    def Builder(self, log: Any) -> SimpleNamespace:  # noqa: N802  # TensorRT's name
        behaviour = self.behaviour
        if behaviour.no_driver:
            log.log(Severity.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")

        def create_network(flags: int) -> Network:
            behaviour.flags = flags
            return Network(behaviour)

        def build(network: Network, config: Config) -> bytes | None:
            if behaviour.build_error:
                log.log(Severity.ERROR, behaviour.build_error)
                return None
            return f"engine of {network.inputs} to {network.outputs} for {behaviour.shapes}".encode()

        return SimpleNamespace(
            create_network=create_network,
            create_builder_config=lambda: Config(behaviour),
            create_optimization_profile=lambda: Profile(behaviour),
            build_serialized_network=build,
        )

    def OnnxParser(self, network: Network, log: Any) -> SimpleNamespace:  # noqa: N802  # TensorRT's name
        behaviour = self.behaviour

        def parse(data: bytes) -> bool:
            if behaviour.parse_error:
                return False
            graph = onnx.ModelProto.FromString(data).graph
            network.inputs = [value.name for value in graph.input]
            network.outputs = [value.name for value in graph.output][int(behaviour.drops_output) :]
            log.log(Severity.WARNING, "a warning that stops nothing")
            return True

        error = SimpleNamespace(desc=lambda: behaviour.parse_error)
        return SimpleNamespace(parse=parse, num_errors=int(bool(behaviour.parse_error)), get_error=lambda _: error)
