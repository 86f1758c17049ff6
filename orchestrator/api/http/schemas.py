"""JSON schemas of messages, as protobuf's JSON mapping writes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, OneofDescriptor

from orchestrator.api.http.fields import map_value, short_names

Schema = dict[str, Any]

PACKAGE = "reelsift.v1."

_INT32: Schema = {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1}
_INT64: Schema = {"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,18}$"}
_NUMBER: Schema = {"type": "number"}
_SCALARS: Mapping[int, Schema] = {
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldDescriptor.TYPE_INT32: _INT32,
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_FLOAT: _NUMBER | {"format": "float"},
    FieldDescriptor.TYPE_DOUBLE: _NUMBER | {"format": "double"},
}
_WELL_KNOWN: Mapping[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]{1,11}(\.[0-9]{1,9})?s$"},
}

# What no descriptor says: without these a request is refused
REQUIRED: Mapping[str, list[str]] = {
    "CreateAnalysisRequest": ["config"],
    "StageVersionRequest": ["version", "who"],
    "ShadowVersionRequest": ["share", "who"],
    "CanaryVersionRequest": ["share", "who"],
    "PromoteVersionRequest": ["who"],
    "RollbackModelRequest": ["who"],
    "RetireVersionRequest": ["version", "who"],
    "TerminateSessionRequest": ["who"],
    "CreateSilenceRequest": ["pattern", "durationSeconds", "who"],
    "SetMaintenanceRequest": ["who"],
    "DrainRequest": ["who"],
    "CleanUpRequest": ["who"],
    "ReloadSettingsRequest": ["who"],
}
CHOICES = frozenset({"AnalysisConfig.source", "RetryAnalysisRequest.from_stage"})

STATUS: Schema = {
    "description": "google.rpc.Status: what went wrong.",
    "type": "object",
    "required": ["code", "message", "details"],
    "additionalProperties": False,
    "properties": {
        "code": _INT32 | {"description": "The gRPC status code."},
        "message": {"type": "string", "description": "For people."},
        "details": {
            "type": "array",
            "items": {
                "oneOf": [{"$ref": "#/components/schemas/ErrorInfo"}, {"$ref": "#/components/schemas/RetryInfo"}]
            },
        },
    },
}
ERROR_INFO: Schema = {
    "description": "google.rpc.ErrorInfo: why, for programs.",
    "type": "object",
    "required": ["@type", "reason", "domain"],
    "additionalProperties": False,
    "properties": {
        "@type": {"const": "type.googleapis.com/google.rpc.ErrorInfo"},
        "reason": {"type": "string", "pattern": "^[A-Z][A-Z_]+$", "description": "Stable."},
        "domain": {"const": "reelsift.dev"},
        "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
RETRY_INFO: Schema = {
    "description": "google.rpc.RetryInfo: trying again can help.",
    "type": "object",
    "required": ["@type", "retryDelay"],
    "additionalProperties": False,
    "properties": {
        "@type": {"const": "type.googleapis.com/google.rpc.RetryInfo"},
        "retryDelay": _WELL_KNOWN["google.protobuf.Duration"],
    },
}


def components(messages: Iterable[Descriptor | EnumDescriptor]) -> dict[str, Schema]:
    """The schemas of ``messages`` and of all that they hold, and those of errors, by name."""
    found: dict[str, Schema] = {"Status": STATUS, "ErrorInfo": ERROR_INFO, "RetryInfo": RETRY_INFO}
    waiting: list[Descriptor | EnumDescriptor] = list(messages)
    while waiting:
        each = waiting.pop()
        if (name := name_of(each)) in found:
            continue
        if isinstance(each, EnumDescriptor):
            found[name] = {"type": "string", "enum": [value.name for value in each.values]}
        else:
            found[name] = _message(each)
            waiting += [inner for field in each.fields for inner in _inner(field)]
    return dict(sorted(found.items()))


def name_of(descriptor: Descriptor | EnumDescriptor) -> str:
    """The name of a message's schema."""
    return str(descriptor.full_name).removeprefix(PACKAGE)


def named(name: str) -> Descriptor | EnumDescriptor:
    """The message or enum of a schema's name."""
    pool = descriptor_pool.Default()
    try:
        return pool.FindMessageTypeByName(PACKAGE + name)
    except KeyError:
        return pool.FindEnumTypeByName(PACKAGE + name)


def reference(descriptor: Descriptor | EnumDescriptor) -> Schema:
    """A reference to a message's schema."""
    return {"$ref": f"#/components/schemas/{name_of(descriptor)}"}


def field_schema(field: FieldDescriptor) -> Schema:
    """The schema of a field's value."""
    if value := map_value(field):
        return {"type": "object", "additionalProperties": _single(value)}
    return {"type": "array", "items": _single(field)} if field.is_repeated else _single(field)


def query_schema(field: FieldDescriptor) -> Schema:
    """The schema of a field's value as a parameter of a query, where enums have short names too."""
    if field.enum_type is None:
        return field_schema(field)
    names = [*short_names(field.enum_type), *(value.name for value in field.enum_type.values)]
    single: Schema = {"type": "string", "enum": names}
    return {"type": "array", "items": single} if field.is_repeated else single


def _inner(field: FieldDescriptor) -> Iterable[Descriptor | EnumDescriptor]:
    if value := map_value(field):
        yield from _inner(value)
    elif field.enum_type is not None:
        yield field.enum_type
    elif field.message_type is not None and field.message_type.full_name not in _WELL_KNOWN:
        yield field.message_type


def _single(field: FieldDescriptor) -> Schema:
    if field.enum_type is not None:
        return reference(field.enum_type)
    if field.message_type is not None:
        return _WELL_KNOWN.get(field.message_type.full_name) or reference(field.message_type)
    return _SCALARS[field.type]


def _message(message: Descriptor) -> Schema:
    schema: Schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {field.json_name: field_schema(field) for field in message.fields},
    }
    if required := REQUIRED.get(name_of(message)):
        schema["required"] = required
    if choices := [_choice(oneof) for oneof in message.oneofs if not _optional(oneof)]:
        schema["allOf"] = choices
    return schema


def _optional(oneof: OneofDescriptor) -> bool:
    """Whether it only stands for a field marked ``optional``."""
    return len(oneof.fields) == 1 and oneof.name == f"_{oneof.fields[0].name}"


def _choice(oneof: OneofDescriptor) -> Schema:
    """Exactly one of its fields, or none where that is allowed."""
    each: list[Schema] = [{"required": [field.json_name]} for field in oneof.fields]
    if f"{name_of(oneof.containing_type)}.{oneof.name}" in CHOICES:
        return {"oneOf": each}
    return {"oneOf": [*each, {"not": {"anyOf": each}}]}
