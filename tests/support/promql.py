"""What an expression of PromQL asks for: metrics, and the labels that each must have for the expression to mean what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import promql_parser as promql

ALL = frozenset({"job", "instance"})
"""Labels that every scraped series has."""
_SETS = ("and", "unless")


def expression(text: str) -> str:
    """PromQL of a dashboard's query, with Grafana's variables filled in."""
    for name, value in {"$__rate_interval": "1m", "$__range": "1h", "$instance": ".+"}.items():
        text = text.replace(name, value)
    return text


def labels_of_template(text: str) -> frozenset[str]:
    """Labels that a legend (``{{label}}``) or an annotation of an alert (``{{ $labels.label }}``) names."""
    return frozenset(re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", text))


def needs(text: str, labels: frozenset[str] = frozenset()) -> dict[str, frozenset[str]]:
    """The metrics of ``text`` and the labels that each must have, so that the result has ``labels``. ``ValueError`` for a label that
    the expression itself drops, or that is no PromQL."""
    found: dict[str, frozenset[str]] = {}
    for metric, wanted in _below(promql.parse(text), labels):
        found[metric] = found.get(metric, frozenset()) | wanted
    return found


def produces(text: str, known: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Labels that the result of ``text`` has, where metrics have those that are ``known``."""
    return _made(promql.parse(text), known)


def matchers(text: str) -> Iterator[tuple[str, str, str]]:
    """Every ``metric{label="value"}`` of ``text``: metric, label, and each value that it names (an alternative of a pattern, too)."""
    found: list[tuple[str, str, str]] = []

    def visit(node: Any) -> None:
        if isinstance(node, promql.VectorSelector):
            for matcher in node.matchers.matchers:
                found.extend((node.name, matcher.name, value) for value in matcher.value.split("|"))

    promql.walk(promql.parse(text), visit)
    return iter(found)


def _below(node: Any, labels: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    if isinstance(node, promql.VectorSelector):
        yield node.name, labels | {matcher.name for matcher in node.matchers.matchers}
    elif isinstance(node, promql.MatrixSelector):
        yield from _below(node.vector_selector, labels)
    elif isinstance(node, promql.AggregateExpr):
        kept = frozenset(node.modifier.labels) if node.modifier else frozenset()
        if labels - kept:
            raise ValueError(f"{sorted(labels - kept)} is not left of {node}")
        yield from _below(node.expr, kept)
    elif isinstance(node, promql.BinaryExpr):
        yield from _sides(node, labels)
    elif isinstance(node, promql.Call):
        yield from _arguments(node, labels)
    elif not isinstance(node, promql.NumberLiteral | promql.StringLiteral):
        yield from _below(node.expr, labels)  # parentheses, a sign, a subquery


def _sides(node: Any, labels: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    matching = node.modifier.matching if node.modifier else None
    on = frozenset(matching.labels) if matching and str(matching).startswith("on") else frozenset()
    copied = node.modifier.group_labels if node.modifier else None
    if copied is not None:  # many to one: what the one side gives, the other need not have
        yield from _below(node.lhs, labels - frozenset(copied) | on)
        yield from _below(node.rhs, frozenset(copied) | on)
        return
    yield from _below(node.lhs, labels | on)
    yield from _below(node.rhs, on if str(node.op) in _SETS else labels | on)


def _arguments(node: Any, labels: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    match node.func.name:
        case "label_replace":
            _, made, _, source, _ = (
                argument.val if isinstance(argument, promql.StringLiteral) else "" for argument in node.args
            )
            labels = labels - {made} | {source}
        case "histogram_quantile":
            labels = labels | {"le"}
        case "absent":
            labels = frozenset()
    for argument in node.args:
        yield from _below(argument, labels)


def _made(node: Any, known: Mapping[str, frozenset[str]]) -> frozenset[str]:
    if isinstance(node, promql.VectorSelector):
        return known[node.name]
    if isinstance(node, promql.MatrixSelector):
        return _made(node.vector_selector, known)
    if isinstance(node, promql.AggregateExpr):
        return frozenset(node.modifier.labels) if node.modifier else frozenset()
    if isinstance(node, promql.BinaryExpr):
        sides = [_made(side, known) for side in (node.lhs, node.rhs) if not isinstance(side, promql.NumberLiteral)]
        return sides[0] if sides else frozenset()
    if isinstance(node, promql.Call):
        parts = [
            _made(argument, known)
            for argument in node.args
            if not isinstance(argument, promql.NumberLiteral | promql.StringLiteral)
        ]
        inner = parts[0] if parts else frozenset()
        return inner - {"le"} if node.func.name == "histogram_quantile" else inner
    if isinstance(node, promql.NumberLiteral | promql.StringLiteral):
        return frozenset()
    return _made(node.expr, known)
