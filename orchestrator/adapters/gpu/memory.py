"""Memory on a GPU that processes share, through the driver's own interface (``libcuda``): no CUDA toolkit, no torch.

The service allocates, so that the memory outlives the processes that use it: the GPU process writes, Triton reads. It never touches the
memory itself.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

HANDLE_BYTES = 64  # CU_IPC_HANDLE_SIZE
_OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY
_LAZY_PEER_ACCESS = 1  # CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS


class CudaError(Exception):
    """The driver refused: ``code`` is its CUresult."""

    def __init__(self, call: str, code: int) -> None:
        super().__init__(f"{call} failed: {_name(code)}")
        self.code = code


class CudaMissing(Exception):
    """There is no driver, no such GPU, or no package to use it."""


class _IpcHandle(ctypes.Structure):
    _fields_ = [("reserved", ctypes.c_byte * HANDLE_BYTES)]


class CudaMemory:
    """``nbytes`` on GPU ``ordinal``. ``handle`` lets other processes open it, as long as it is not freed."""

    def __init__(self, ordinal: int, nbytes: int) -> None:
        """Raises ``CudaMissing`` and ``CudaError``."""
        self._context = _Context(ordinal)
        self.ordinal, self.nbytes = ordinal, nbytes
        pointer, handle = ctypes.c_uint64(), _IpcHandle()
        try:
            with self._context:
                _call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(nbytes))
                _call("cuIpcGetMemHandle", ctypes.byref(handle), pointer)
        except CudaError:
            with self._context:
                if pointer.value:
                    _call("cuMemFree_v2", pointer)
            self._context.release()
            raise
        self._pointer: ctypes.c_uint64 | None = pointer
        self.handle = bytes(handle)

    @classmethod
    def of_at_most(cls, ordinal: int, nbytes: int, least: int) -> CudaMemory:
        """As much of ``nbytes`` as there is, by halves, down to ``least``. Raises ``CudaMissing`` and ``CudaError``."""
        while True:
            try:
                return cls(ordinal, nbytes)
            except CudaError as error:
                if error.code != _OUT_OF_MEMORY or nbytes // 2 < least:
                    raise
                nbytes //= 2

    def free(self) -> None:
        """Free it. Whoever has it open must have closed it."""
        pointer, self._pointer = self._pointer, None
        if pointer is not None:
            with self._context:
                _call("cuMemFree_v2", pointer)
            self._context.release()


def open_memory(handle: bytes) -> int:
    """Address, in this process's current context, of the memory that another has allocated. Raises ``CudaError``."""
    pointer = ctypes.c_uint64()
    shared = _IpcHandle.from_buffer_copy(handle)
    _call("cuIpcOpenMemHandle_v2", ctypes.byref(pointer), shared, ctypes.c_uint(_LAZY_PEER_ACCESS))
    return pointer.value


def current_context() -> int:
    """The CUcontext that is current in this thread, 0 for none. Raises ``CudaError``."""
    context = ctypes.c_void_p()
    _call("cuCtxGetCurrent", ctypes.byref(context))
    return context.value or 0


def gpus() -> int:
    """How many GPUs the driver shows; 0 without a driver."""
    try:
        count = ctypes.c_int()
        _call("cuInit", ctypes.c_uint(0))
        _call("cuDeviceGetCount", ctypes.byref(count))
    except (CudaMissing, CudaError):
        return 0
    return count.value


class _Context:
    """The primary context of a GPU, current while it is entered."""

    def __init__(self, ordinal: int) -> None:
        _call("cuInit", ctypes.c_uint(0))
        self._device, self._context = ctypes.c_int(), ctypes.c_void_p()
        try:
            _call("cuDeviceGet", ctypes.byref(self._device), ctypes.c_int(ordinal))
        except CudaError as error:
            raise CudaMissing(f"there is no GPU {ordinal}") from error
        _call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)

    def __enter__(self) -> None:
        _call("cuCtxPushCurrent_v2", self._context)

    def __exit__(self, *_: object) -> None:
        _call("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def release(self) -> None:
        _call("cuDevicePrimaryCtxRelease_v2", self._device)


@cache
def _driver() -> Any:
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise CudaMissing("there is no NVIDIA driver here (libcuda.so.1)") from error


def _call(name: str, *arguments: object) -> None:
    code = getattr(_driver(), name)(*arguments)
    if code:
        raise CudaError(name, code)


def _name(code: int) -> str:
    text = ctypes.c_char_p()
    if _driver().cuGetErrorName(ctypes.c_int(code), ctypes.byref(text)) or text.value is None:
        return f"CUresult {code}"
    return text.value.decode()
