"""What a route is: how it is served, and what the OpenAPI document says of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import Descriptor
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api.http.schemas import Schema
from orchestrator.api.methods import AnalysisMethods
from orchestrator.api.model_handlers import ModelMethods
from orchestrator.api.operations_handlers import OperationsMethods
from orchestrator.api.ports import Analyses, Operations, Rollouts, Searches
from orchestrator.api.search_handlers import SearchMethods
from orchestrator.errors import ReelsiftError
from orchestrator.pipeline.telemetry import Telemetry

PREFIX = "/api/v1"

Readiness = Callable[[], Awaitable[Mapping[str, bool]]]
"""Tells by name what the service needs, and whether it has it; an exception means that it has not."""


@dataclass(frozen=True, slots=True)
class Services:
    """What the routes need: the application, and the methods that gRPC serves too."""

    analyses: Analyses
    ready: Readiness
    telemetry: Telemetry
    analysis_methods: AnalysisMethods
    search_methods: SearchMethods
    model_methods: ModelMethods
    operations_methods: OperationsMethods

    @classmethod
    def of(
        cls,
        analyses: Analyses,
        searches: Searches,
        rollouts: Rollouts | None,
        operations: Operations | None,
        ready: Readiness,
        telemetry: Telemetry,
    ) -> Services:
        """The services over the application's ports."""
        return cls(
            analyses,
            ready,
            telemetry,
            AnalysisMethods(analyses),
            SearchMethods(searches),
            ModelMethods(rollouts),
            OperationsMethods(operations),
        )


Endpoint = Callable[[Request, Services], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter in the ``path``, the ``query`` or a ``header``. A ``deep`` one is given key by key."""

    name: str
    place: str
    schema: Schema
    description: str = ""
    deep: bool = False

    def document(self) -> dict[str, Any]:
        """Its part of the OpenAPI document."""
        found: dict[str, Any] = {"name": self.name, "in": self.place, "schema": self.schema}
        if self.place == "path":
            found["required"] = True
        if self.description:
            found["description"] = self.description
        if self.deep:
            found |= {"style": "deepObject", "explode": True}
        return found


@dataclass(frozen=True, slots=True)
class Result:
    """An answer that is no error: its content by media type (an empty schema says nothing of it), and its headers with what they say."""

    description: str
    content: Mapping[str, Schema] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Its part of the OpenAPI document."""
        found: dict[str, Any] = {"description": self.description}
        if self.content:
            found["content"] = {name: {"schema": schema} if schema else {} for name, schema in self.content.items()}
        if self.headers:
            found["headers"] = {
                name: {"description": text, "schema": {"type": "string"}} for name, text in self.headers.items()
            }
        return found


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. ``body`` is the message of its JSON body, or the schema of another body by media type;
    ``errors`` are those of its own, besides the ones that every operation may end with."""

    verb: str
    path: str
    name: str
    summary: str
    endpoint: Endpoint
    results: Mapping[int, Result]
    parameters: tuple[Parameter, ...] = ()
    body: Descriptor | Mapping[str, Schema] | None = None
    errors: tuple[type[ReelsiftError], ...] = ()
