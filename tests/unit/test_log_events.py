"""Every event that the service can log has a name of two words, and stands in ``ops/logs.md``."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ORDER = ("debug", "info", "warning", "error")
LEVELS = {*ORDER, "exception"}
LISTED = re.compile(r"^\| `([a-z0-9_.]+)` \| (\w+) \|", re.MULTILINE)
SERVICE = [path for path in sorted((ROOT / "orchestrator").rglob("*.py")) if "gen" not in path.parts]


def names(node: ast.expr) -> Iterator[str]:
    """The texts that an expression may have."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from names(node.body)
        yield from names(node.orelse)


def said(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The events of a module with their levels: what it logs, directly or by a variable of its own, and what its ``_emit`` is given."""
    assigned = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and node.args):
            continue
        level = level_of(node.func)
        if level is None:
            continue
        first = node.args[0]
        if isinstance(first, ast.Name) and first.id in assigned:
            first = assigned[first.id]
        for name in names(first):
            yield name, level


def level_of(function: ast.expr) -> str | None:
    """The level at which a function logs; ``None`` if it does not."""
    if isinstance(function, ast.Name):
        return "info" if function.id == "tell" else None
    if not isinstance(function, ast.Attribute):
        return None
    if function.attr == "_emit":
        return "info"
    of = function.value
    if function.attr in LEVELS and isinstance(of, ast.Name) and of.id in {"log", "logger"}:
        return "error" if function.attr == "exception" else function.attr
    return None


def events() -> dict[str, str]:
    """Every event, and the highest level at which it is logged."""
    found: dict[str, str] = {}
    for path in SERVICE:
        for event, level in said(ast.parse(path.read_text())):
            found[event] = max(level, found.get(event, level), key=ORDER.index)
    return found


def test_events_have_names() -> None:
    assert len(events()) > 70
    assert not {event for event in events() if not re.fullmatch(r"[a-z]+\.[a-z_]+", event)}


def test_every_event_is_listed_with_its_level() -> None:
    listed = LISTED.findall((ROOT / "ops" / "logs.md").read_text())
    assert len(listed) == len(dict(listed))
    assert dict(listed) == {**events(), "library.said": "warning"}


def test_every_module_says_who_it_is() -> None:
    """Or else a line would not know its component."""
    nameless = re.compile(r"structlog\.get_logger\(\)")
    assert [str(path.relative_to(ROOT)) for path in SERVICE if nameless.search(path.read_text())] == []
