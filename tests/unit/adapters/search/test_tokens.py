"""Texts as tokens: lengths that depend on the text alone, and no text that upsets the tokenizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from orchestrator.adapters.search.tokens import LENGTHS, Tokens
from orchestrator.core.results import ModelVersion
from orchestrator.errors import SetupError

MODEL = ModelVersion("text_embedding", "1", "d" * 64)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small tokenizer of the same kind as the real one."""
    vocabulary = {
        word: at for at, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "dog", "##s", "[", "]", "sep"])
    }
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(["[PAD]", "[SEP]"])
    folder = tmp_path / "text_embedding" / "1"
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return tmp_path


def test_a_text_takes_the_shortest_length_that_holds_it(repository: Path) -> None:
    tokens = Tokens(repository)
    row = tokens(MODEL, "A dogs")
    assert row.dtype == np.int32
    assert row.tolist() == [[2, 4, 5, 6, 3] + [0] * 11]
    for words, length in ((14, 16), (15, 32), (126, 128), (1000, 128)):
        assert tokens(MODEL, "a " * words).shape == (1, length)
    assert max(LENGTHS) == 128


def test_marks_on_a_screen_are_text(repository: Path) -> None:
    assert Tokens(repository)(MODEL, "[SEP]").tolist()[0][:5] == [2, 7, 9, 8, 3]


@pytest.mark.parametrize("text", ["", "\0", "\ud800 dog", "北京 é ‮", "[PAD]"])
def test_any_text_has_tokens(repository: Path, text: str) -> None:
    assert Tokens(repository)(MODEL, text)[0, 0] == 2


def test_a_repository_without_one_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="models export"):
        Tokens(tmp_path)(MODEL, "dog")
