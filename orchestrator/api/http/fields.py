"""The fields of messages as HTTP carries them: which there are, as parameters of a query, and in JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from orchestrator.errors import InvalidRequest

M = TypeVar("M", bound=Message)

TEXTUAL = frozenset({"google.protobuf.Timestamp", "google.protobuf.Duration"})  # strings in JSON

_MAP_KEY = re.compile(r"(?P<name>[^\[\]]+)\[(?P<key>.*)\]", re.DOTALL)
_BOOLS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class QueryField:
    """A field that a query may set. ``name`` is its path with dots, such as ``filter.min_score``; a map is set key by
    key: ``labels[key]=value``."""

    name: str
    field: FieldDescriptor


def query_fields(message: Descriptor, without: Iterable[str] = ()) -> Iterator[QueryField]:
    """The fields of ``message``, and of the messages in it, except those named in ``without``."""
    for field in message.fields:
        if field.name in without:
            continue
        inner = field.message_type
        if inner is None or inner.full_name in TEXTUAL or is_map(field):
            yield QueryField(field.name, field)
        else:
            yield from (QueryField(f"{field.name}.{each.name}", each.field) for each in query_fields(inner))


def is_map(field: FieldDescriptor) -> bool:
    """Whether ``field`` is a map."""
    return map_value(field) is not None


def map_value(field: FieldDescriptor) -> FieldDescriptor | None:
    """The values of ``field`` when it is a map."""
    entry = field.message_type
    return entry.fields_by_name["value"] if entry is not None and entry.GetOptions().map_entry else None


def short_names(enum: EnumDescriptor) -> dict[str, str]:
    """The values of ``enum`` by the names that a query may give them too: without the enum's own, in lower case. So ``critical`` is
    ``ALERT_LEVEL_CRITICAL``."""
    prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
    return {value.name.removeprefix(prefix).lower(): value.name for value in enum.values[1:]}


def from_query(parameters: Iterable[tuple[str, str]], fields: Mapping[str, QueryField]) -> dict[str, Any]:
    """The JSON object that ``parameters`` spell. Raises ``InvalidRequest`` naming a parameter that is unknown, or given
    twice."""
    found: dict[str, Any] = {}
    for name, value in parameters:
        match = _MAP_KEY.fullmatch(name)
        known = fields.get(match["name"] if match else name)
        if known is None or is_map(known.field) != bool(match):
            raise InvalidRequest(f"there is no parameter {shown(name)}", field=shown(name))
        *path, last = known.name.split(".")
        place = found
        for step in path:
            place = place.setdefault(step, {})
        if match:
            place, last = place.setdefault(last, {}), match["key"]
        elif known.field.is_repeated:
            place.setdefault(last, []).append(_value(known.field, value))
            continue
        if last in place:
            raise InvalidRequest(f"the parameter {shown(name)} is given twice", field=shown(name))
        place[last] = _value(known.field, value)
    return found


def _value(field: FieldDescriptor, given: str) -> Any:
    if field.type == FieldDescriptor.TYPE_BOOL:
        return _BOOLS.get(given, given)
    return given if field.enum_type is None else short_names(field.enum_type).get(given, given)


def parse(text: bytes | str, message: type[M]) -> M:
    """The message in the JSON ``text``. Raises ``InvalidRequest`` that names the first field which does not fit."""
    try:
        return json_format.Parse(text, message())
    except (json_format.ParseError, ValueError) as error:
        raise _misfit(text, message) from error


def _misfit(text: bytes | str, message: type[Message]) -> InvalidRequest:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return InvalidRequest("the body is not JSON")
    if not isinstance(value, dict):
        return InvalidRequest("the body must be a JSON object")
    name = shown(".".join(_culprit(value, message)))
    if not name:
        return InvalidRequest("the body gives a field twice, or two of which only one may be set")
    return InvalidRequest(f"the field {name} does not exist, or cannot have this value", field=name)


def _culprit(value: Mapping[str, Any], message: type[Message]) -> list[str]:
    """The path of the first field of ``value`` that ``message`` cannot have; empty when each fits by itself.

    Found by trying them one by one: what protobuf's own errors say differs from one version to the next.
    """
    fields = {name: field for field in message.DESCRIPTOR.fields for name in (field.name, field.json_name)}
    for name, item in value.items():
        if _fits({name: item}, message):
            continue
        field = fields.get(name)
        if field is None or field.message_type is None or field.is_repeated or not isinstance(item, dict):
            return [name]
        return [name, *_culprit(item, type(getattr(message(), field.name)))]
    return []


def _fits(value: Mapping[str, Any], message: type[Message]) -> bool:
    try:
        json_format.Parse(json.dumps(value), message())
    except (json_format.ParseError, ValueError):
        return False
    return True


def shown(name: str) -> str:
    """``name``, which a client chose, fit to be shown to him."""
    return name[:100].encode("utf-8", "replace").decode()
