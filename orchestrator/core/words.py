"""Words of a text, as they are searched: the same for what is stored and for what is asked, in every database. Pure.

A word is a run of letters and digits, without accents and case; a Chinese, Japanese or Korean character is a word of
its own, because nothing says where their words end. Words are compared by their stem: the plural's s is taken off
(Harman, "How effective is suffixing?", JASIS 42, 1991).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from functools import lru_cache

MOST_LETTERS = 64  # of a word; what is longer is cut
MOST_PHRASES = 32  # of a query

_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_ALONE}]|(?:(?![{_ALONE}])[^\W_])+")
_CHUNK = re.compile(r'"([^"]*)"?|([^\s"]+)')
_COMMON = frozenset(
    "a an and are as at be by for from has he in is it its of on or she that the their this to was were with".split()  # noqa: SIM905
)


def words(text: str) -> tuple[str, ...]:
    """The words of ``text`` in order, folded."""
    bare = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return tuple(word[:MOST_LETTERS] for word in _WORD.findall(unicodedata.normalize("NFKC", bare).casefold()))


def stem(word: str) -> str:
    """``word`` without the ending of a plural."""
    if len(word) < 4 or not word.isascii() or not word.endswith("s") or word.endswith(("ss", "us")):
        return word
    if word.endswith("ies") and not word.endswith(("aies", "eies")):
        return word[:-3] + "y"
    return word[:-1]


def stems(text: str) -> tuple[str, ...]:
    """The stems of the words of ``text``."""
    return tuple(stem(word) for word in words(text))


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that follow each other, and their stems."""

    words: tuple[str, ...]
    stems: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.words:
            raise ValueError("a phrase holds at least one word")
        object.__setattr__(self, "stems", _stems(self.words))

    def within(self, text: str) -> float:
        """How well ``text`` holds the phrase: 1.0 as it is, 0.9 by its stems, 0.0 not at all."""
        found, found_stems = _folded(text)
        if not _contains(found_stems, self.stems):
            return 0.0
        return 1.0 if _contains(found, self.words) else 0.9


def phrases(query: str) -> tuple[Phrase, ...]:
    """What a query asks for: each word, each pair of quotes. What is written without a space ("5:30") stays together.

    Any text is a query. Common words count only inside a phrase, or when there are no others.
    """
    found = [Phrase(inside) for quoted, bare in _CHUNK.findall(query) if (inside := words(quoted or bare))]
    telling = [phrase for phrase in found if len(phrase.words) > 1 or phrase.words[0] not in _COMMON]
    return tuple(dict.fromkeys(telling or found))[:MOST_PHRASES]


@lru_cache(maxsize=16384)  # the names of classes come again and again
def _folded(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    found = words(text)
    return found, _stems(found)


@lru_cache(maxsize=4096)
def _stems(found: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(stem(word) for word in found)


def _contains(text: tuple[str, ...], part: tuple[str, ...]) -> bool:
    if part[0] not in text:
        return False
    size = len(part)
    return size == 1 or any(text[at : at + size] == part for at in range(len(text) - size + 1))
