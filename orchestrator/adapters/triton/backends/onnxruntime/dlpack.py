"""A NumPy array as a DLPack capsule, and what lies behind another's.

Triton's ``Tensor.from_dlpack`` calls ``__dlpack__(stream=None)`` in a way that NumPy 2 answers with a logged
traceback; a bare capsule is taken as it is. The structures are those of ``dlpack.h``, version 0.x (unversioned
``dltensor``).
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CPU = 1  # kDLCPU
_CODES = {"i": 0, "u": 1, "f": 2, "b": 6}  # DLDataTypeCode by NumPy kind


class _Device(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int32), ("id", ctypes.c_int32)]


class _DataType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Managed(ctypes.Structure):
    pass


_Deleter = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Managed))
_Managed._fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter)]

_alive: dict[int, tuple[_Managed, NDArray[Any], Any]] = {}  # what a consumer still holds, by address

_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype = ctypes.c_void_p
_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]


def _release(managed: Any) -> None:
    _alive.pop(ctypes.addressof(managed.contents), None)


_forget = _Deleter(_release)  # one for all, never collected


def capsule(array: NDArray[Any]) -> Any:
    """A capsule over ``array``'s memory (copied only when it is not contiguous); its consumer calls the deleter.

    Raises ``TypeError`` for a dtype that DLPack does not know.
    """
    if array.dtype.kind not in _CODES:
        raise TypeError(f"DLPack has no type for {array.dtype}")
    array = np.ascontiguousarray(array).reshape(array.shape)  # ascontiguousarray gives a scalar one dimension
    shape = (ctypes.c_int64 * max(array.ndim, 1))(*array.shape)
    managed = _Managed()
    tensor = managed.tensor
    tensor.data, tensor.device, tensor.ndim = array.ctypes.data, _Device(_CPU, 0), array.ndim
    tensor.dtype = _DataType(_CODES[array.dtype.kind], array.dtype.itemsize * 8, 1)
    tensor.shape, tensor.strides, tensor.byte_offset = shape, None, 0
    managed.deleter = _forget
    address = ctypes.addressof(managed)
    _alive[address] = (managed, array, shape)
    return _new_capsule(address, b"dltensor", None)


def facts(capsule: Any) -> tuple[int, int, int, tuple[int, ...], tuple[int, ...] | None, int, int]:
    """Of the tensor in a capsule, which stays its owner: device type and number, address, shape, strides in elements (``None``: dense),
    type code and bits. Raises ``ValueError`` for a capsule that has been consumed.
    """
    tensor = ctypes.cast(_pointer(capsule, b"dltensor"), ctypes.POINTER(_Managed)).contents.tensor
    shape = tuple(tensor.shape[: tensor.ndim])
    strides = tuple(tensor.strides[: tensor.ndim]) if tensor.strides else None
    address = (tensor.data or 0) + tensor.byte_offset
    return tensor.device.type, tensor.device.id, address, shape, strides, tensor.dtype.code, tensor.dtype.bits
