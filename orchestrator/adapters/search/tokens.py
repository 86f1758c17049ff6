"""Texts as the tokens of the model ``text_embedding``, by the tokenizer that export put beside the model's file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from orchestrator.core.results import ModelVersion
from orchestrator.errors import SetupError

LENGTHS = (16, 32, 64, 128)  # a text takes the shortest that holds it: a shape depends on the text alone
PADDING = 0


class Tokens:
    """The tokenizers in ``repository``."""

    def __init__(self, repository: Path) -> None:
        self._open = lru_cache(maxsize=2)(lambda folder: _open(repository / folder / "tokenizer.json"))

    def __call__(self, model: ModelVersion, text: str) -> NDArray[np.int32]:
        """The ids of ``text`` for ``model``, INT32 [1, one of LENGTHS]; what is longer is cut. Raises ``SetupError`` when the
        repository has no tokenizer of it."""
        ids = (
            self._open(f"{model.name}/{model.version}").encode(text.encode("utf-8", "replace").decode()).ids
        )  # lone surrogates, too
        length = next(length for length in LENGTHS if len(ids) <= length)
        row = np.full((1, length), PADDING, np.int32)
        row[0, : len(ids)] = ids
        return row


def _open(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_str(path.read_text("utf-8"))
    except OSError as error:
        raise SetupError("the model repository has no tokenizer of text; run `reelsift models export`") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(LENGTHS[-1])
    tokenizer.encode_special_tokens = True  # "[SEP]" on a screen is text
    return tokenizer
