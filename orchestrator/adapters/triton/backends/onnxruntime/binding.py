"""Running a session on memory where it lies: what Triton has on a GPU is read there, and answers come back to the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

CUDA = 2  # kDLCUDA
_DEVICES = {1: "cpu", CUDA: "cuda", 3: "cpu"}  # DLDeviceType; 3 is page-locked memory of the host
_TYPES = {
    (1, 8): np.uint8,
    (1, 32): np.uint32,
    (0, 32): np.int32,
    (0, 64): np.int64,
    (2, 32): np.float32,
    (2, 16): np.float16,
}


class Lying(NamedTuple):
    """A dense tensor somewhere: ``device`` as ONNX Runtime names it, and what keeps the memory alive."""

    device: str
    ordinal: int
    address: int
    shape: tuple[int, ...]
    dtype: Any
    owner: Any


def lying(facts: Any, owner: Any) -> Lying:
    """Out of ``dlpack.facts``. Raises ``TypeError`` for another device or dtype, or gaps between the elements."""
    device, ordinal, address, shape, strides, code, bits = facts
    if device not in _DEVICES:
        raise TypeError(f"tensors on DLPack device {device} are not read")
    if (code, bits) not in _TYPES:
        raise TypeError(f"tensors of DLPack type {code}, {bits} bits are not read")
    dense = [1]
    for extent in reversed(shape[1:]):
        dense.insert(0, dense[0] * extent)
    if strides is not None and any(
        ours != theirs for ours, theirs, extent in zip(dense, strides, shape, strict=True) if extent > 1
    ):
        raise TypeError("a tensor with gaps is not read")
    return Lying(_DEVICES[device], ordinal, address, shape, _TYPES[code, bits], owner)


def run(session: Any, outputs: Sequence[str], inputs: Mapping[str, Lying]) -> list[Any]:
    """The outputs, as arrays in host memory."""
    binding = session.io_binding()
    for name, tensor in inputs.items():
        binding.bind_input(name, tensor.device, tensor.ordinal, tensor.dtype, tensor.shape, tensor.address)
    for name in outputs:
        binding.bind_output(name, "cpu")
    binding.synchronize_inputs()
    session.run_with_iobinding(binding)
    return list(binding.copy_outputs_to_cpu())
