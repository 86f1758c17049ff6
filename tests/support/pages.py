"""Pages of documentation as tests read them: what they have a reader type, where they lead, and the names that they use.

An indented block with a line that begins with ``$`` is a transcript: commands, and below each what it says (``...`` stands for
anything). A block without one, as in README, is a list of commands.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "ops" / "runbooks"
PROMPT = "$ "

_MARKDOWN = MarkdownIt().enable("table")
_ENDS = frozenset({"|", "||", "&&", ";"})  # of a simple command


@dataclass(frozen=True, slots=True)
class Command:
    """A line that a page has its reader type; ``said``: what the page shows below it, empty where it shows nothing."""

    page: str
    line: int
    text: str
    said: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line} {self.text}"

    @property
    def bare(self) -> str:
        """Without the comment."""
        return self.text.partition("   #")[0].rstrip()

    def simple(self) -> list[list[str]]:
        """The words of each command of the line, settings, ``sudo -u USER`` and redirections left out, programs by their bare names."""
        lexer = shlex.shlex(self.text, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        found: list[list[str]] = [[]]
        words = iter(list(lexer))
        for word in words:
            if word in _ENDS:
                found.append([])
            elif word in (">", "<", ">>"):
                next(words)
            elif found[-1] or "=" not in word:
                found[-1].append(word)
        return [[Path(words[0]).name, *words[1:]] for words in found if words]

    def of(self, program: str) -> Iterator[list[str]]:
        """The arguments of each call of ``program``."""
        return (words for name, *words in self.simple() if name == program)


@dataclass(frozen=True, slots=True)
class Table:
    """``rows`` as they are written, the head first; ``section``: the heading above."""

    section: str
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Page:
    """A page. ``name``: its path below the root. ``headings``: of the second level. ``opening``: whether a block of commands comes before
    the first of them. ``code``: what stands in backticks."""

    name: str
    title: str
    headings: tuple[str, ...]
    opening: bool
    commands: tuple[Command, ...]
    links: tuple[str, ...]
    code: tuple[str, ...]
    tables: tuple[Table, ...]
    text: str

    @property
    def stem(self) -> str:
        """Of its file."""
        return Path(self.name).stem

    def goals(self) -> list[Path]:
        """The files that it links to."""
        inside = [link.partition("#")[0] for link in self.links if "://" not in link]
        return [(ROOT / self.name).parent / link for link in inside if link]


def read(path: Path) -> Page:
    """The page at ``path``."""
    name, text = path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
    tokens = _MARKDOWN.parse(text)
    inline = [child for token in tokens for child in token.children or ()]
    second = next((at for at, token in enumerate(tokens) if token.type == "heading_open" and token.tag == "h2"), None)
    blocks = [token for token in tokens if token.type in ("code_block", "fence")]
    opening = [token for token in tokens[:second] if token.type == "code_block"]
    return Page(
        name=name,
        title=next((heading for level, heading in _headings(tokens) if level == "h1"), ""),
        headings=tuple(heading for level, heading in _headings(tokens) if level == "h2"),
        opening=bool(opening),
        commands=tuple(command for block in blocks for command in _commands(name, block)),
        links=tuple(str(child.attrs["href"]) for child in inline if child.type == "link_open"),
        code=tuple(child.content for child in inline if child.type == "code_inline"),
        tables=tuple(_tables(tokens)),
        text=text,
    )


def runbooks() -> list[Page]:
    """Every page of ``ops/runbooks``, by name."""
    return [read(path) for path in sorted(RUNBOOKS.glob("*.md"))]


def _headings(tokens: Sequence[Token]) -> Iterator[tuple[str, str]]:
    return ((token.tag, tokens[at + 1].content) for at, token in enumerate(tokens) if token.type == "heading_open")


def _commands(page: str, block: Token) -> Iterator[Command]:
    assert block.map is not None
    lines = dedent(block.content).splitlines()  # below the point of a list one blank may be left
    first = block.map[0] + (2 if block.type == "fence" else 1)
    prompts = [at for at, line in enumerate(lines) if line.startswith(PROMPT)]
    if not prompts:
        for at, line in enumerate(lines):
            if line.strip():
                yield Command(page, first + at, line)
        return
    for at, end in zip(prompts, [*prompts[1:], len(lines)], strict=True):
        yield Command(page, first + at, lines[at].removeprefix(PROMPT), "\n".join(lines[at + 1 : end]).strip())


def _tables(tokens: Sequence[Token]) -> Iterator[Table]:
    section, rows, cells = "", list[tuple[str, ...]](), list[str]()
    for at, token in enumerate(tokens):
        match token.type:
            case "heading_open":
                section = tokens[at + 1].content
            case "table_open":
                rows = []
            case "tr_open":
                cells = []
            case "th_open" | "td_open":
                cells.append(tokens[at + 1].content)
            case "tr_close":
                rows.append(tuple(cells))
            case "table_close":
                yield Table(section, tuple(rows))
