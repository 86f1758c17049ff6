"""LogQL, parsed by Grafana's own grammar, which is written in JavaScript."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from export.fetch import npm_command, unpack
from export.spec import Source

_PACKAGES = (
    Source(
        "npm",
        "@grafana/lezer-logql",
        "0.4.2",
        "grafana-lezer-logql-0.4.2.tgz",
        "9f5649f68db2ae0535a5bd2312635896b5a0df380a217cb6311f47e22bc2599e",
        "Apache-2.0",
    ),
    Source(
        "npm",
        "@lezer/lr",
        "1.4.12",
        "lezer-lr-1.4.12.tgz",
        "64382ee7f144221e4c655f2034393c6be9cecaf5ea2ec1c1edeb99424defb272",
        "MIT",
    ),
    Source(
        "npm",
        "@lezer/common",
        "1.5.5",
        "lezer-common-1.5.5.tgz",
        "ed93cee36403124f51eae638b8a032d6694914c19704de7610db7f2a9441c963",
        "MIT",
    ),
    Source(
        "npm",
        "@lezer/highlight",
        "1.2.5",
        "lezer-highlight-1.2.5.tgz",
        "e349eec1ff4382439c1e6286ae937e0203a8349c5192e2e133863391775ac7ff",
        "MIT",
    ),
)
_PROGRAM = """
const { parser } = require("@grafana/lezer-logql");
const queries = JSON.parse(require("fs").readFileSync(0, "utf8"));
const nodes = (query) => {
  const found = [];
  parser.parse(query).iterate({ enter(n) {
    const above = [];
    for (let each = n.node.parent; each; each = each.parent) above.push(each.name);
    found.push([n.type.isError ? "ERROR" : n.name, query.slice(n.from, n.to), above]);
  } });
  return found;
};
console.log(JSON.stringify(queries.map(nodes)));
"""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A query. ``matchers``: of its stream, ``(label, operator, value)``; ``filters``: those behind its parsers; ``fields``: all other
    labels that it names (numbers that it compares, groups, what it unwraps or writes into a line)."""

    text: str
    error: bool
    matchers: tuple[tuple[str, str, str], ...]
    filters: tuple[tuple[str, str, str], ...]
    fields: frozenset[str]

    def finds(self, line: Mapping[str, object]) -> bool:
        """Whether the texts that it compares are those of ``line``, a line of our log with its labels. Numbers are not compared."""
        return all(
            _COMPARE[operator](value, str(line.get(label, "")))
            for label, operator, value in self.matchers + self.filters
        )


_COMPARE: dict[str, Callable[[str, str], bool]] = {
    "=": lambda value, text: text == value,
    "!=": lambda value, text: text != value,
    "=~": lambda value, text: re.fullmatch(value, text) is not None,
    "!~": lambda value, text: re.fullmatch(value, text) is None,
}


def parse(queries: Sequence[str]) -> list[Parsed]:
    """Each of them."""
    with tempfile.TemporaryDirectory() as folder:
        modules = Path(folder) / "node_modules"
        for source in _PACKAGES:
            shutil.copytree(unpack(source) / "package", modules / source.package)
        (Path(folder) / "parse.cjs").write_text(_PROGRAM)
        done = subprocess.run(
            [_node(), "parse.cjs"], cwd=folder, input=json.dumps(queries), capture_output=True, text=True, check=True
        )
    return [_read(query, nodes) for query, nodes in zip(queries, json.loads(done.stdout), strict=True)]


def _read(query: str, nodes: list[tuple[str, str, list[str]]]) -> Parsed:
    matchers: dict[bool, list[tuple[str, str, str]]] = {True: [], False: []}
    fields = set()
    for name, text, above in nodes:
        if name == "Matcher":
            label, operator, value = _matcher(text)
            matchers["Selector" in above].append((label, operator, value))
        elif name == "Identifier" and "Matcher" not in above:
            fields.add(text)
    error = any(name == "ERROR" for name, _, _ in nodes)
    return Parsed(query, error, tuple(matchers[True]), tuple(matchers[False]), frozenset(fields))


def _matcher(text: str) -> tuple[str, str, str]:
    at = min(text.index(character) for character in "=!" if character in text)
    operator = next(each for each in ("=~", "!~", "!=", "=") if text[at:].startswith(each))
    return text[:at].strip(), operator, json.loads(text[at + len(operator) :])


def _node() -> str:
    first = npm_command()[0]
    return shutil.which("node") or first
