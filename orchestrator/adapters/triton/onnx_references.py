"""The files that an ONNX model reads beside itself, found with no more of ONNX's schema than leads to their names.

Field numbers are those of ``onnx.proto3``. What is not named here is skipped, weights included. A repeated field also reads
a single one, as it lies on the wire.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

_PACKAGE = "reelsift.onnx"
_GRAPH = 7
#: message -> (the message inside it, its field numbers)
_INSIDE: dict[str, dict[str, tuple[int, ...]]] = {
    "Model": {"Graph": (_GRAPH,), "Training": (20,), "Function": (25,)},
    "Training": {"Graph": (1, 2)},
    "Function": {"Node": (7,)},
    "Graph": {"Node": (1,), "Tensor": (5,), "Sparse": (15,)},
    "Node": {"Attribute": (5,)},
    "Attribute": {"Tensor": (5, 10), "Graph": (6, 11), "Sparse": (22, 23)},
    "Sparse": {"Tensor": (1, 2)},
    "Tensor": {"Entry": (13,)},
    "Entry": {},
}
_KEY, _VALUE = 1, 2


class NotOnnx(ValueError):
    """The file is cut short, or no ONNX model at all."""


def references(file: Path) -> set[str]:
    """The places of external data that ``file`` names. Raises ``NotOnnx``."""
    try:
        model = _Model.FromString(file.read_bytes())
    except DecodeError as error:
        raise NotOnnx("it is cut short, or no ONNX model") from error
    if not getattr(model, f"f{_GRAPH}"):
        raise NotOnnx("it holds no graph")
    return set(_locations(model))


def _locations(message: Any) -> Iterator[str]:
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for inner in value:
            if field.message_type.name != "Entry":
                yield from _locations(inner)
            elif inner.f1 == b"location":
                yield inner.f2.decode("utf-8", "replace")


def _model_class() -> type[Message]:
    file = descriptor_pb2.FileDescriptorProto(name="reelsift/onnx.proto", package=_PACKAGE, syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, inside in _INSIDE.items():
        message = file.message_type.add(name=name)
        for other, numbers in inside.items():
            for number in numbers:
                message.field.add(
                    name=f"f{number}", number=number, label=kinds.LABEL_REPEATED,
                    type=kinds.TYPE_MESSAGE, type_name=f".{_PACKAGE}.{other}",
                )  # fmt: skip
        if name == "Entry":
            for number in (_KEY, _VALUE):
                message.field.add(name=f"f{number}", number=number, label=kinds.LABEL_OPTIONAL, type=kinds.TYPE_BYTES)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Model"))


_Model: Any = _model_class()
