"""Messages between the service and a decode worker: one JSON object per datagram on a socket pair.

Nothing is ever unpickled. The service takes a worker for hostile: it reads messages through :class:`Message`, whose
accessors check type and range and raise ``ProtocolError``.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Sequence
from typing import Any

MAX_MESSAGE = 96 * 1024
_INT64 = 1 << 62
_WORD = re.compile(r"[A-Za-z0-9_.]+")


class ProtocolError(Exception):
    """A worker said something that it must not say."""


class Message:
    """A received message; every access is checked."""

    __slots__ = ("_fields", "kind")

    def __init__(self, data: bytes) -> None:
        try:
            fields = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ProtocolError("not JSON") from error
        if not isinstance(fields, dict) or not isinstance(fields.get("t"), str):
            raise ProtocolError("not a message")
        self.kind: str = fields["t"]
        self._fields: dict[str, Any] = fields

    def integer(self, name: str, low: int = -_INT64, high: int = _INT64) -> int:
        """An integer in ``low..high``."""
        return _integer(self._fields.get(name), low, high)

    def optional(self, name: str, low: int = -_INT64, high: int = _INT64) -> int | None:
        """Such an integer, or ``None``."""
        return None if self._fields.get(name) is None else self.integer(name, low, high)

    def word(self, name: str) -> str:
        """A short identifier (ASCII letters, digits, ``_`` and ``.``)."""
        value = self._fields.get(name)
        if not isinstance(value, str) or len(value) > 96 or not _WORD.fullmatch(value):
            raise ProtocolError(f"{name} is not a word")
        return value

    def integers(self, name: str, count: int | None = None, low: int = -_INT64, high: int = _INT64) -> tuple[int, ...]:
        """A list of integers, of ``count`` where given."""
        return _integers(self._fields.get(name), count, low, high)

    def rows(self, name: str, width: int, most: int) -> list[tuple[int, ...]]:
        """At most ``most`` lists of ``width`` integers."""
        value = self._fields.get(name)
        if not isinstance(value, list) or len(value) > most:
            raise ProtocolError(f"{name} is not a list of at most {most}")
        return [_integers(row, width, -_INT64, _INT64) for row in value]

    def raw(self, name: str) -> Any:
        """A field as it is (only for messages of the service itself)."""
        return self._fields[name]


def encode(kind: str, **fields: object) -> bytes:
    """A message."""
    return json.dumps({"t": kind, **fields}, separators=(",", ":")).encode()


def pair() -> tuple[socket.socket, socket.socket]:
    """Two ends that keep message boundaries."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send_with_descriptors(channel: socket.socket, data: bytes, descriptors: Sequence[int]) -> None:
    """Send one message together with descriptors."""
    socket.send_fds(channel, [data], list(descriptors))


def receive_with_descriptors(channel: socket.socket, count: int) -> tuple[bytes, list[int]]:
    """One message with its descriptors; empty when the other end has closed."""
    data, descriptors, _, _ = socket.recv_fds(channel, MAX_MESSAGE, count)
    return data, descriptors


def _integer(value: object, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ProtocolError("an integer is missing or out of range")
    return value


def _integers(value: object, count: int | None, low: int, high: int) -> tuple[int, ...]:
    if not isinstance(value, list) or (count is not None and len(value) != count):
        raise ProtocolError("a list is missing or of the wrong length")
    return tuple(_integer(item, low, high) for item in value)
