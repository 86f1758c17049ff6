"""What the database holds as JSON, and back: what is read equals what was written.

Finite floats are shortest decimals that read back to the same bits, others words (``"nan"``); fractions are ``"1/25"``;
vectors are base64 of little-endian float32 where that loses nothing, else float64. A field that an older version did
not write takes its default.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any, TypeVar, cast

import numpy as np
import orjson
from cattrs import Converter

from orchestrator.core.results import (
    Faces,
    LabelScore,
    Moderation,
    ObjectTrack,
    Shot,
    Similarity,
    TextLine,
    Value,
)

T = TypeVar("T")
Vector = tuple[float, ...]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FLOAT32, _FLOAT64 = "f4:", "f8:"


def _write_float(value: float) -> float | str:
    return float(value) if math.isfinite(value) else repr(float(value))


def _write_vector(vector: Vector) -> str:
    wide = np.asarray(vector, "<f8")
    with np.errstate(over="ignore"):
        narrow = wide.astype("<f4")
    tag, chosen = (_FLOAT32, narrow) if np.array_equal(narrow, wide) else (_FLOAT64, wide)
    return tag + base64.b64encode(chosen.tobytes()).decode("ascii")


def _read_vector(text: str, _: object) -> Vector:
    dtype = {_FLOAT32: "<f4", _FLOAT64: "<f8"}[text[:3]]
    return tuple(np.frombuffer(base64.b64decode(text[3:]), dtype).astype("<f8").tolist())


def _converter() -> Converter:
    converter = Converter()
    converter.register_unstructure_hook(float, _write_float)
    converter.register_unstructure_hook(Fraction, str)
    converter.register_structure_hook(Fraction, lambda text, _: Fraction(text))
    converter.register_unstructure_hook(datetime, datetime.isoformat)
    converter.register_structure_hook(datetime, lambda text, _: datetime.fromisoformat(text))
    converter.register_unstructure_hook_func(lambda kind: kind == Vector, _write_vector)
    converter.register_structure_hook_func(lambda kind: kind == Vector, _read_vector)
    return converter


_CONVERTER = _converter()

VALUES: Mapping[str, Any] = {
    "SHOT": Shot,
    "LABELS": tuple[LabelScore, ...],
    "OBJECTS": tuple[ObjectTrack, ...],
    "TEXT": tuple[TextLine, ...],
    "FACES": Faces,
    "MODERATION": Moderation,
    "SIMILARITY": Similarity,
    "NOTHING": tuple[LabelScore, ...],  # an empty list: of what, it does not say
}
_KINDS: Mapping[type, str] = {
    Shot: "SHOT",
    LabelScore: "LABELS",
    ObjectTrack: "OBJECTS",
    TextLine: "TEXT",
    Faces: "FACES",
    Moderation: "MODERATION",
    Similarity: "SIMILARITY",
}


def encode(kind: Any, value: object) -> str:
    """``value`` of the type ``kind`` (a dataclass, or a tuple of them) as JSON."""
    return orjson.dumps(_CONVERTER.unstructure(value, kind)).decode()


def decode(kind: type[T], text: str) -> T:
    """What :func:`encode` wrote."""
    return _CONVERTER.structure(orjson.loads(text), kind)


def encode_value(value: Value) -> tuple[str, str]:
    """An annotation's value: its kind (a key of ``VALUES``) and its JSON."""
    first = value[:1] or None if isinstance(value, tuple) else (value,)
    kind = "NOTHING" if first is None else _KINDS[type(first[0])]
    return kind, encode(VALUES[kind], value)


def decode_value(kind: str, text: str) -> Value:
    """What :func:`encode_value` wrote."""
    return cast(Value, decode(VALUES[kind], text))


def encode_json(value: object) -> str:
    """A JSON value as it is. Raises ``ValueError`` for a number that JSON does not know, ``TypeError`` for other things."""
    text = orjson.dumps(value)
    if b"null" in text and not _finite(value):  # orjson writes null for them
        raise ValueError("JSON holds no infinities and no NaN")
    return text.decode()


def _finite(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Mapping):
        return all(_finite(each) for each in value.values())
    return not isinstance(value, list | tuple) or all(_finite(each) for each in value)


def decode_json(text: str) -> Any:
    """What :func:`encode_json` wrote."""
    return orjson.loads(text)


def to_us(instant: datetime) -> int:
    """Whole microseconds since 1970 UTC."""
    return (instant - EPOCH) // _MICROSECOND


def from_us(microseconds: int) -> datetime:
    """The instant, UTC."""
    return EPOCH + microseconds * _MICROSECOND
