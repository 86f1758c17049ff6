"""What an engine is to be, decided before TensorRT is asked: shapes, file names, and the config that serves it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from export.errors import ArchitectureError, NoEngineError
from export.repository import config_message, on_gpu
from export.spec import ModelSpec
from export.tensorrt.sizes import free_size

PLAN_FILE = "model.plan"
"""What Triton's TensorRT backend loads on a GPU that `cc_model_filenames` does not name. It is never written: there it refuses to load."""

_ARCHITECTURE = re.compile(r"(?:sm)?_?(?P<major>\d{1,2})\.?(?P<minor>\d)\Z")


@dataclass(frozen=True, order=True)
class Architecture:
    """A GPU's compute capability. An engine runs on the one that it was built on."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> Architecture:
        """Out of "9.0" or "sm90". Raises ArchitectureError."""
        found = _ARCHITECTURE.match(text)
        if found is None:
            raise ArchitectureError(f"an architecture is written like 9.0 or sm90, got {text!r}")
        return cls(int(found["major"]), int(found["minor"]))

    def __str__(self) -> str:
        """As Triton writes it, the key of `cc_model_filenames`: 9.0."""
        return f"{self.major}.{self.minor}"

    @property
    def file(self) -> str:
        """The engine's file in a version folder: model.plan.sm90."""
        return f"{PLAN_FILE}.sm{self.major}{self.minor}"


@dataclass(frozen=True)
class Profile:
    """The shapes, batch included, for which an engine is built: it answers from `least` to `most`, and is tuned for `usual`."""

    tensor: str
    least: tuple[int, ...]
    usual: tuple[int, ...]
    most: tuple[int, ...]


def profile(spec: ModelSpec) -> Profile:
    """Return the shapes of a model's requests.

    On a GPU a request always carries the whole batch (`ModelContract.whole`), so kernels are chosen for that; fewer rows come
    only from golden batches.
    """
    (only,) = spec.inputs
    rows = spec.max_batch_size
    if -1 not in only.dims:
        return Profile(only.name, (1, *only.dims), (rows, *only.dims), (rows, *only.dims))
    size = free_size(spec)
    least, usual, most = (_filled(only.dims, value) for value in (size.least, size.usual, size.most))
    return Profile(only.name, (1, *least), (rows, *usual), (rows, *most))


def dims_asked(spec: ModelSpec) -> tuple[tuple[int, ...], ...]:
    """Return all dims, without the batch, that requests have: the ends first, between which the others lie."""
    (only,) = spec.inputs
    if -1 not in only.dims:
        return (only.dims,)
    size = free_size(spec)
    ends = dict.fromkeys((size.most, size.least, *size.values))
    return tuple(_filled(only.dims, value) for value in ends)


def _filled(dims: tuple[int, ...], value: int) -> tuple[int, ...]:
    return tuple(value if dim == -1 else dim for dim in dims)


@dataclass(frozen=True)
class EnginePlan:
    """The engines of one version: all of one network and one profile, one per architecture."""

    spec: ModelSpec
    profile: Profile
    tf32: bool
    """Whether FP32 products may be rounded to TF32's ten bits: not where a version calls itself fp32."""
    architectures: tuple[Architecture, ...]

    def __post_init__(self) -> None:
        if not self.architectures or len(set(self.architectures)) != len(self.architectures):
            raise ValueError(f"{self.spec.name}: engines are for different architectures, got {self.architectures}")

    @property
    def files(self) -> dict[str, str]:
        """Engine files by architecture, as `cc_model_filenames` has them."""
        return {str(architecture): architecture.file for architecture in sorted(self.architectures)}

    def engine_for(self, architecture: Architecture) -> str:
        """Return the file that a GPU of this architecture loads.

        Raises:
            NoEngineError: there is none; the ONNX version serves that GPU.
        """
        if architecture not in self.architectures:
            raise NoEngineError(
                f"{self.spec.name}: engines for {', '.join(self.files)}, none for {architecture}; "
                f"export it on such a GPU, or stay with the ONNX version"
            )
        return architecture.file

    def config(self, version: int) -> Any:
        """Return Triton's ModelConfig of the version; the same tensors as the ONNX version's."""
        message = config_message(self.spec)
        message.backend, message.platform = "tensorrt", "tensorrt_plan"
        message.parameters.clear()  # threads of ONNX Runtime
        message.version_policy.specific.versions[:] = [version]
        on_gpu(message, self.spec.instances)
        for architecture, file in self.files.items():
            message.cc_model_filenames[architecture] = file
        return message


def plan(spec: ModelSpec, precision: str, architectures: Iterable[Architecture]) -> EnginePlan:
    """Return the plan of a version's engines.

    The precision is the graph's own: since TensorRT 11 networks are always strongly typed, and here they are on 10 as well.
    """
    return EnginePlan(spec, profile(spec), precision != "fp32", tuple(architectures))
