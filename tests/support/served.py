"""Which version of a model the repository's configuration names. Without Triton's messages, which the bench's peers need not load."""

from __future__ import annotations

import re
from pathlib import Path


def served(repository: Path, model: str) -> Path:
    """The folder of that version."""
    config = (repository / model / "config.pbtxt").read_text(encoding="utf-8")
    (version,) = re.findall(r"specific \{\s*versions: (\d+)\s*\}", config)
    return repository / model / version
