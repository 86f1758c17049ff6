"""The names of a model's classes: ``labels.txt`` of the model repository, one per line, in index order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from orchestrator.errors import SetupError

_ESCAPE = re.compile(r"^<U\+([0-9A-F]{4,6})>$")  # a character that is white space or cannot be printed


class Labels:
    """Labels of the models in ``repository``; a call with a model's name gives its names."""

    def __init__(self, repository: Path) -> None:
        self._read = cache(lambda model: _read(repository / model / "labels.txt", model))

    def __call__(self, model: str) -> Sequence[str]:
        """The names. Raises ``SetupError`` when the model has none."""
        return self._read(model)


def _read(path: Path, model: str) -> Sequence[str]:
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise SetupError(f"the model repository has no labels of {model!r}; run `reelsift models export`") from error
    # Not splitlines: an alphabet holds characters that it takes for line ends.
    lines = text.removesuffix("\n").split("\n")
    return tuple(_ESCAPE.sub(lambda match: chr(int(match[1], 16)), line) for line in lines)
