"""A tracer that keeps its spans, and a trace of somebody else."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from orchestrator.tracing import Kind

THEIRS = f"00-{'ab' * 16}-{'cd' * 8}-01"


@dataclass
class Noted:
    """A span of which everything is kept."""

    name: str
    kind: Kind
    parent: str
    attributes: dict[str, Any]
    traceparent: str
    failure: str = ""
    ended: bool = False

    def set(self, **attributes: Any) -> None:
        self.attributes |= attributes

    def fail(self, reason: str) -> None:
        self.failure = self.failure or reason

    def end(self) -> None:
        self.ended = True


@dataclass
class Notes:
    """A tracer that keeps its spans."""

    spans: list[Noted] = field(default_factory=list)

    def start(self, name: str, kind: Kind, parent: str, attributes: dict[str, Any]) -> Noted:
        trace = parent[3:35] or f"{len(self.spans) + 1:032x}"
        made = Noted(name, kind, parent, attributes, f"00-{trace}-{len(self.spans) + 1:016x}-01")
        self.spans.append(made)
        return made
