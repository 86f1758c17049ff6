"""The OpenAPI document says what the routes do, and messages look as its schemas say."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import jsonschema
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from openapi_spec_validator import validate

from orchestrator.api.http import schemas
from orchestrator.api.http.errors import error_response
from orchestrator.api.http.fields import map_value
from orchestrator.api.http.openapi import document
from orchestrator.api.http.routes import OPERATIONS
from orchestrator.api.http.unary import METHODS
from orchestrator.api.messages import to_json
from orchestrator.errors import QueueFull

DOCUMENT = document(OPERATIONS)


def test_it_is_an_openapi_document() -> None:
    validate(DOCUMENT)


def test_every_method_of_the_services_has_a_route() -> None:
    named = [operation.name for operation in OPERATIONS]
    assert len(named) == len(set(named))
    # Analyze is CreateAnalysis, UploadMedia and WatchAnalysis in one call, which HTTP cannot carry
    assert set(METHODS) - set(named) == {"Analyze"}


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    text = json.dumps(DOCUMENT)
    schemas = DOCUMENT["components"]["schemas"]
    for name in schemas:
        assert f'"#/components/schemas/{name}"' in text
    assert "Labels.Label" in schemas
    assert schemas["AnalysisState"]["enum"][0] == "ANALYSIS_STATE_UNSPECIFIED"


def test_every_operation_tells_its_errors() -> None:
    create = DOCUMENT["paths"]["/api/v1/analyses"]["post"]["responses"]
    assert {"200", "201", "400", "403", "409", "413", "415", "422", "429", "500", "503", "507"} <= set(create)
    assert "QUEUE_FULL" in create["429"]["description"]


def schema(name: str) -> Any:
    """A validator of a message's JSON."""
    return jsonschema.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]},
        format_checker=jsonschema.FormatChecker(),
    )


def test_every_hint_names_something() -> None:
    for name, fields in schemas.REQUIRED.items():
        assert set(fields) <= {field.json_name for field in schemas.named(name).fields}
    for name in schemas.CHOICES:
        message, _, oneof = name.partition(".")
        assert oneof in schemas.named(message).oneofs_by_name


def filled(message: Descriptor, chance: random.Random, depth: int = 0) -> Message:
    """A message with random values in some of its fields."""
    made = GetMessageClass(message)()
    if message.full_name == "google.protobuf.Timestamp":
        made.FromSeconds(chance.randrange(0, 2**33))
        return made
    if message.full_name == "google.protobuf.Duration":
        made.FromNanoseconds(chance.randrange(-(2**60), 2**60))
        return made
    for field in message.fields:
        if chance.random() < 0.3 or depth > 6:
            continue
        target = getattr(made, field.name)
        if value := map_value(field):
            target["key"] = _scalar(value, chance)
        elif field.message_type is not None:
            inner = filled(field.message_type, chance, depth + 1)
            (target.add() if field.is_repeated else target).CopyFrom(inner)
        elif field.is_repeated:
            target.extend([_scalar(field, chance), _scalar(field, chance)])
        else:
            setattr(made, field.name, _scalar(field, chance))
    for oneof in message.oneofs:
        if f"{schemas.name_of(message)}.{oneof.name}" in schemas.CHOICES and made.WhichOneof(oneof.name) is None:
            setattr(made, oneof.fields[0].name, _scalar(oneof.fields[0], chance))
    return made


def _scalar(field: FieldDescriptor, chance: random.Random) -> Any:
    match field.type:
        case FieldDescriptor.TYPE_BOOL:
            return chance.random() < 0.5
        case FieldDescriptor.TYPE_STRING:
            return "täxt"
        case FieldDescriptor.TYPE_BYTES:
            return base64.b64decode("AAEC")
        case FieldDescriptor.TYPE_INT32:
            return chance.randrange(-(2**31), 2**31)
        case FieldDescriptor.TYPE_INT64:
            return chance.randrange(-(2**59), 2**59)
        case FieldDescriptor.TYPE_ENUM:
            return chance.choice(field.enum_type.values).number
        case FieldDescriptor.TYPE_FLOAT | FieldDescriptor.TYPE_DOUBLE:
            return chance.random()
        case other:
            raise AssertionError(f"no message of ours has fields of type {other}")


@pytest.mark.parametrize(
    "rpc", sorted(name for name, method in METHODS.items() if name not in ("Analyze", "ExportAnalysis"))
)
def test_answers_fit_their_schemas(rpc: str) -> None:
    chance = random.Random(rpc)
    output = METHODS[rpc].output_type
    validator = schema(output.name)
    for _ in range(20):
        validator.validate(json.loads(to_json(filled(output, chance))))


def test_schemas_refuse_what_protobuf_would() -> None:
    validator = schema("CreateAnalysisRequest")
    for wrong in (
        {},
        {"config": {}},
        {"config": {"path": "a", "colour": 1}},
        {"config": {"path": "a", "upload": {}}},
        {"config": {"path": "a", "priority": 2**31}},
        {"config": {"path": "a", "priority": "high"}},
        {"config": {"path": "a", "labels": {"a": 1}}},
        {"config": {"path": "a", "deadline": 5}},
    ):
        assert not validator.is_valid(wrong), wrong
    for right in (
        {"config": {"path": "a"}},
        {"config": {"upload": {}}},
        {"config": {"upload": {"contentLength": "5"}}},
    ):
        assert validator.is_valid(right), right


def test_an_error_fits_its_schema() -> None:
    schema("Status").validate(json.loads(error_response(QueueFull("full", waiting=3)).body))
    schema("Status").validate(json.loads(error_response(KeyError("x")).body))
