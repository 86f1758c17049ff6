"""Words are the same for what is stored and what is asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.words import MOST_LETTERS, MOST_PHRASES, Phrase, phrases, stem, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("BREAKING NEWS: River-Ferry", ("breaking", "news", "river", "ferry")),
        ("Zürich CAFÉ naïve", ("zurich", "cafe", "naive")),
        ("北京abc 555", ("北", "京", "abc", "555")),
        ("ﬁnd Ⅷ ＡＢＣ", ("find", "viii", "abc")),
        ("한국어", ("한", "국", "어")),
        ("straße", ("strasse",)),
        ("_a_b_", ("a", "b")),
        ("", ()),
        ('"*(){}^~\\', ()),
    ],
)
def test_words(text: str, found: tuple[str, ...]) -> None:
    assert words(text) == found


@pytest.mark.parametrize(
    ("word", "expected"),
    [("bicycles", "bicycle"), ("ferries", "ferry"), ("bus", "bus"), ("glass", "glass"), ("gas", "gas"), ("été", "été")],
)
def test_stems(word: str, expected: str) -> None:
    assert stem(word) == expected


def test_phrases() -> None:
    def asked(query: str) -> list[str]:
        return [" ".join(phrase.words) for phrase in phrases(query)]

    assert asked('red "river ferry" 5:30') == ["red", "river ferry", "5 30"]
    assert asked('"not closed') == ["not closed"]
    assert asked("the ferry and the bus") == ["ferry", "bus"]
    assert asked("the") == ["the"]
    assert asked("北京 ferry ferry") == ["北 京", "ferry"]
    assert asked('"" \' -- NEAR(a b) OR NOT * title:x') == ["near a", "b", "not", "title x"]


def test_a_phrase_lies_within_one_text_in_order() -> None:
    assert Phrase(("river", "ferry")).within("News: RIVER-FERRY today") == 1.0
    assert Phrase(("river", "ferries")).within("rivers ferry") == 0.9
    assert Phrase(("ferry", "river")).within("river ferry") == 0.0
    assert Phrase(("fer",)).within("ferry") == 0.0
    with pytest.raises(ValueError, match="one word"):
        Phrase(())


@given(st.text(max_size=200))
def test_any_text_is_a_query_of_words(text: str) -> None:
    found = phrases(text)
    assert len(found) <= MOST_PHRASES
    for phrase in found:
        for word in phrase.words:
            assert 0 < len(word) <= MOST_LETTERS
            assert not set(word) & set("'\"\\ \0")  # nothing that a query language could take for its own
            assert words(word) == (word,)  # folding twice changes nothing


@given(st.text(max_size=100))
def test_a_text_holds_each_of_its_own_words(text: str) -> None:
    for word in words(text):
        assert Phrase((word,)).within(text) == 1.0
