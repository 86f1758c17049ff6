"""The GPU that engines are built on, asked of the driver itself: no CUDA toolkit, no torch."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from export.errors import MissingError
from export.tensorrt.plan import Architecture

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
_LONGEST_NAME = 256


@dataclass(frozen=True)
class Gpu:
    """A GPU of this machine."""

    name: str
    architecture: Architecture


def first_gpu() -> Gpu:
    """Return the first GPU that the driver shows, which is the one that TensorRT builds on (CUDA_VISIBLE_DEVICES chooses another).

    Raises:
        MissingError: there is no driver, or it shows no GPU.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise MissingError(
            "an engine is built on the GPU that runs it, and this machine has no NVIDIA driver"
        ) from error

    def ask(call: str, *arguments: object) -> None:
        code = getattr(driver, call)(*arguments)
        if code:
            raise MissingError(
                f"an engine is built on the GPU that runs it, and the driver shows none ({call}: error {code})"
            )

    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(_LONGEST_NAME)
    ask("cuInit", ctypes.c_uint(0))
    ask("cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
    ask("cuDeviceGetName", name, ctypes.c_int(_LONGEST_NAME), device)
    ask("cuDeviceGetAttribute", ctypes.byref(major), ctypes.c_int(_MAJOR), device)
    ask("cuDeviceGetAttribute", ctypes.byref(minor), ctypes.c_int(_MINOR), device)
    return Gpu(name.value.decode(errors="replace"), Architecture(major.value, minor.value))
