"""What the code calls things: metrics, settings, reasons, log events, components, routes, and the words that it says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from enum import Enum
from functools import cache

import grpc
from grpc_health.v1 import health_pb2
from pydantic import BaseModel

from orchestrator import errors
from orchestrator.adapters.telemetry.metrics import Metrics
from orchestrator.api.http.routes import OPERATIONS
from orchestrator.core.alerting import Level
from orchestrator.core.jobs import AnalysisState
from orchestrator.core.rollout import Rail
from orchestrator.settings import Settings
from tests.support.pages import ROOT

_LEVELS = frozenset({"debug", "info", "warning", "error", "exception", "critical"})
_READINGS = frozenset({"measured", "up", "Reading"})
HOLE = "\0"
"""Stands for a value in the words of a message."""


@cache
def metrics() -> frozenset[str]:
    """Every name under which a metric is exported."""
    found = set[str]()
    for family in Metrics().registry.collect():
        endings = {"counter": ("_total",), "histogram": ("", "_bucket", "_sum", "_count")}.get(family.type, ("",))
        found |= {f"{family.name}{ending}" for ending in endings}
    return frozenset(found)


@cache
def settings() -> frozenset[str]:
    """Every environment variable of a setting."""
    return frozenset(_variables(Settings, "REELSIFT_"))


def _variables(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _variables(kind, f"{prefix}{name.upper()}__")
        else:
            yield f"{prefix}{name.upper()}"


@cache
def reasons() -> frozenset[str]:
    """Every word in capitals that a client or an operator is told: reasons, states, levels, rails, gRPC's codes and health."""
    tree, named = [errors.ReelsiftError], set[str]()
    while tree:
        error = tree.pop()
        named.add(error.reason)
        tree += error.__subclasses__()
    kinds: tuple[type[Enum], ...] = (AnalysisState, Level, Rail)
    named |= {member.value for kind in kinds for member in kind}
    named |= {code.name for code in grpc.StatusCode}
    return frozenset(named | set(health_pb2.HealthCheckResponse.ServingStatus.keys()))


@cache
def events() -> frozenset[str]:
    """Every event that is logged."""
    found = set[str]()
    for tree in _trees():
        tellers = {"_emit", *_tellers(tree)}
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and call.args and (_logs(call.func) or _is_named(call, *tellers)):
                found |= set(_constants(call.args[0]))
                if isinstance(call.args[0], ast.Name):
                    found |= set(_assigned(tree, call.args[0].id))
    return frozenset(found)


def _assigned(tree: ast.Module, name: str) -> Iterator[str]:
    """The texts that a variable may hold, or that a function is given which has a parameter of that name and logs it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in node.targets):
            yield from _constants(node.value)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and any(arg.arg == name for arg in node.args.args):
            for call in ast.walk(tree):
                if isinstance(call, ast.Call) and _is_named(call, node.name):
                    yield from (text for argument in call.args for text in _constants(argument))


def _tellers(tree: ast.Module) -> Iterator[str]:
    """Variables that hold a method of a log."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _logs(node.value) and not isinstance(node.value, ast.Call):
            yield from (to.id for to in node.targets if isinstance(to, ast.Name))


def _logs(node: ast.AST) -> bool:
    return any(isinstance(each, ast.Attribute) and each.attr in _LEVELS for each in ast.walk(node))


def _is_named(call: ast.Call, *names: str) -> bool:
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in names


@cache
def kinds() -> frozenset[str]:
    """The kind of every component that the code has a reading of."""
    found = set[str]()
    for tree in _trees():
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and call.args and _is_named(call, *_READINGS):
                found |= {text.partition("/")[0].removesuffix(HOLE) for text in _texts(call.args[0])}
    return frozenset(found)


@cache
def routes() -> frozenset[str]:
    """The path of every route, parameters as ``{}``."""
    return frozenset(re.sub(r"\{[^}]*\}", "{}", operation.path) for operation in OPERATIONS)


@cache
def words() -> str:
    """Every text of the code, a line each; what is filled in is a ``HOLE``."""
    return "\n".join(text for tree in _trees() for node in ast.walk(tree) for text in _texts(node))


def _texts(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(each.value if isinstance(each, ast.Constant) else HOLE for each in node.values)


def _constants(tree: ast.AST) -> Iterator[str]:
    return (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))


@cache
def _trees() -> tuple[ast.Module, ...]:
    files = sorted((ROOT / "orchestrator").rglob("*.py"))
    return tuple(ast.parse(file.read_text(encoding="utf-8")) for file in files if "gen" not in file.parts)
