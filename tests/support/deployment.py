"""What the files below ``ops/`` say, held against the code: settings, ports, command lines."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel

from orchestrator.cli.main import app
from orchestrator.settings import Settings

ROOT = Path(__file__).parent.parent.parent
OPS = ROOT / "ops"

#: Variables of the command line itself, which are no settings.
OTHERS = {"REELSIFT_CONFIG", "REELSIFT_SERVER"}


def is_setting(variable: str) -> bool:
    """Whether ``REELSIFT_...`` (nested with ``__``) sets something."""
    if variable in OTHERS:
        return True
    model: type[BaseModel] | None = Settings
    for part in variable.removeprefix("REELSIFT_").lower().split("__"):
        if model is None or part not in model.model_fields:
            return False
        inner = model.model_fields[part].annotation
        model = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None
    return True


def check_settings(table: dict[str, Any]) -> Settings:
    """The settings of a TOML file's table; every name must be one."""
    unknown = set(table) - set(Settings.model_fields)
    assert not unknown, f"no settings: {unknown}"
    return Settings(**table)


def port_of(address: str) -> int:
    """Of ``HOST:PORT``."""
    return int(address.rpartition(":")[2])


def default(setting: str) -> Any:
    """What a setting is where nobody says otherwise."""
    return Settings.model_fields[setting].get_default(call_default_factory=True)


def check_command(arguments: Sequence[str]) -> None:
    """Fail unless ``reelsift ARGUMENTS`` is a command line that ours understands. Nothing is run."""
    command: Any = typer.main.get_command(app)
    rest = list(arguments)
    while commands := getattr(command, "commands", None):
        assert rest, f"not a whole command: {arguments}"
        assert rest[0] in commands, f"reelsift has no {rest[0]!r}"
        command = commands[rest.pop(0)]
    assert not command.make_context("reelsift", rest).args


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile with what follows them, in order."""
    text = "\n".join(line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", text)
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in joined.splitlines() if line.strip()]


def stage(dockerfile: Path, name: str) -> list[tuple[str, str]]:
    """The instructions that make the image ``name``, those of the stages that it begins with first."""
    stages: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] = []
    for word, rest in instructions(dockerfile):
        if word == "FROM":
            base, _, alias = rest.partition(" AS ")
            current = stages[alias] = list(stages.get(base, []))
        current.append((word, rest))
    return stages[name]


def words(rest: str) -> list[str]:
    """Of an instruction in JSON or in words."""
    found = ast.literal_eval(rest) if rest.startswith("[") else shlex.split(rest)
    return [str(word) for word in found]


def environment(made: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The variables that an image sets."""
    pairs = (word.partition("=") for instruction, rest in made if instruction == "ENV" for word in shlex.split(rest))
    return {name: value for name, _, value in pairs}
