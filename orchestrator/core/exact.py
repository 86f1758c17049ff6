"""Arrays as JSON values, bit for bit."""

from __future__ import annotations

import base64
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def encode_array(array: NDArray[np.generic]) -> list[object]:
    """``[dtype, shape, base64 of the elements]``."""
    return [array.dtype.str, list(array.shape), base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")]


def decode_array(value: Sequence[object]) -> NDArray[np.generic]:
    """The array of :func:`encode_array`, in memory of its own. Raises ``ValueError`` for anything else."""
    kind, shape, data = value
    if not isinstance(kind, str) or not isinstance(shape, Sequence) or not isinstance(data, str):
        raise ValueError("not an encoded array")
    dtype = np.dtype(kind)
    if dtype.hasobject:
        raise ValueError("an array of numbers is expected")
    return np.frombuffer(bytearray(base64.b64decode(data)), dtype).reshape(tuple(shape))
