"""What a loaded model takes and gives, read from Triton's own model config."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import triton_to_np_dtype

from orchestrator.errors import InferenceUnavailable

_UNLIMITED = -1
_PAIR = 2  # rows that the backend computes at a time on a CPU (its ROWS_PER_RUN)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output. ``dims`` are those of the config: without the batch where the model has one; -1 is
    variable.
    """

    name: str
    datatype: str
    dtype: np.dtype[np.generic]
    dims: tuple[int, ...]

    def bounded(self, dims: tuple[int, ...] | None) -> tuple[int, ...]:
        """``dims`` checked against the config's, or the config's own when all are fixed. Raises ``ValueError``."""
        if dims is None:
            if _UNLIMITED in self.dims:
                raise ValueError(
                    f"{self.name} has variable dims {self.dims}: the caller must say how large they may be"
                )
            return self.dims
        fits = len(dims) == len(self.dims) and all(
            own in (_UNLIMITED, given) for own, given in zip(self.dims, dims, strict=True)
        )
        if not fits:
            raise ValueError(f"{self.name} has dims {self.dims}, not {dims}")
        return dims

    def nbytes(self, shape: tuple[int, ...]) -> int:
        """Bytes of a tensor of ``shape``."""
        return math.prod(shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class ModelContract:
    """A model that Triton has loaded. ``max_batch`` 0: it has no batch dimension. ``whole``: a request is of one size, for where it runs
    another size would have to be prepared for first (CUDA's).
    """

    name: str
    version: str
    max_batch: int
    instances: int
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    whole: bool = False

    @property
    def batch(self) -> int:
        """Rows of one request."""
        return max(1, self.max_batch)

    def carried(self, rows: int | None) -> int:
        """Rows that a request carries when the first ``rows`` (``None``: all) matter: whole pairs of them, so that what a row's answer is
        does not depend on how many others there are.
        """
        if rows is None or self.whole:
            return self.max_batch
        if not 0 < rows <= self.batch:
            raise ValueError(f"a request of {self.name} carries 1 to {self.batch} rows, not {rows}")
        return min(self.max_batch, -(-rows // _PAIR) * _PAIR)

    def shape(self, dims: tuple[int, ...], rows: int | None = None) -> tuple[int, ...]:
        """The shape of a request's tensor of ``dims``, when ``rows`` of its rows matter."""
        return (self.carried(rows), *dims) if self.max_batch else dims

    def dims(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """``shape`` without its batch. Raises ``ValueError`` when it does not hold exactly ``batch`` rows."""
        if not self.max_batch:
            return shape
        if not shape or shape[0] != self.max_batch:
            raise ValueError(f"a request of {self.name} carries exactly {self.max_batch} rows, got the shape {shape}")
        return shape[1:]

    @property
    def has_variable_dims(self) -> bool:
        """Whether a caller must say some dims."""
        return any(_UNLIMITED in spec.dims for spec in (*self.inputs.values(), *self.outputs.values()))


def from_config(config: model_config_pb2.ModelConfig, version: str) -> ModelContract:
    """The contract of ``config``. Raises ``InferenceUnavailable`` for tensors that shared memory cannot carry
    (strings).
    """
    return ModelContract(
        name=config.name,
        version=version,
        max_batch=config.max_batch_size,
        instances=max(1, sum(group.count * max(1, len(group.gpus)) for group in config.instance_group)),
        inputs={tensor.name: _spec(tensor) for tensor in config.input},
        outputs={tensor.name: _spec(tensor) for tensor in config.output},
        whole=any(group.kind == model_config_pb2.ModelInstanceGroup.KIND_GPU for group in config.instance_group),
    )


def _spec(tensor: model_config_pb2.ModelInput | model_config_pb2.ModelOutput) -> TensorSpec:
    datatype = model_config_pb2.DataType.Name(tensor.data_type).removeprefix("TYPE_")
    dtype = np.dtype(triton_to_np_dtype(datatype) or object)
    if dtype.hasobject:
        raise InferenceUnavailable(f"the tensor {tensor.name} is of type {datatype}, which is not supported")
    return TensorSpec(tensor.name, datatype, dtype, tuple(tensor.dims))
