"""Ranking, fusion, explanation, and page tokens."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.documents import ClassScore, Document, Line
from orchestrator.core.ranking import Cursor, Mark, fuse, matches, read_token, strongest, word_score, write_token
from orchestrator.core.searching import MatchKind, SearchFilter, SearchQuery, SegmentRef
from orchestrator.core.words import phrases

DOCUMENT = Document(
    (ClassScore(MatchKind.OBJECT, "person", 0.8), ClassScore(MatchKind.LABEL, "ferry, ferryboat", 0.2)),
    (Line("RIVER FERRY", 0.99),),
)
QUERY = SearchQuery("person", filter=SearchFilter(tenant="t", created_after=datetime(2026, 1, 1, tzinfo=UTC)))


def test_every_part_that_matches_is_a_reason() -> None:
    found = matches(DOCUMENT, phrases("ferries person"))
    assert [(match.kind, match.matched, match.score) for match in found] == [
        (MatchKind.TEXT, "RIVER FERRY", 0.99),
        (MatchKind.OBJECT, "person", 0.8),
        (MatchKind.LABEL, "ferry, ferryboat", 0.2),
    ]
    assert matches(DOCUMENT, phrases("dog")) == ()


def test_holding_more_of_the_phrases_counts_most() -> None:
    both, one, none = (word_score(DOCUMENT, phrases(query)) for query in ("ferry person", "person dog", "dog"))
    assert both == pytest.approx((1.99 / 2 + 1.8 / 2) / 2)
    assert one == pytest.approx(1.8 / 2 / 2)
    assert none == 0
    assert word_score(DOCUMENT, phrases("ferries")) == pytest.approx(0.9 * 1.99 / 2)
    assert word_score(DOCUMENT, ()) == 0


def test_fusion() -> None:
    ranked = fuse([{1: 0.9, 2: 0.5, 3: 0.5}, {2: 0.7, 4: 0.1}])
    assert [row for row, _ in ranked] == [2, 1, 4, 3]  # 4 before 3: both are second in one ranking, and 4 is newer
    assert ranked[0][1] == pytest.approx(1 / 62 + 1 / 61)
    assert ranked[2][1] == ranked[3][1] == pytest.approx(1 / 62)
    assert fuse([]) == []


def test_the_strongest() -> None:
    assert strongest({1: 0.5, 2: 0.0, 3: 0.5, 4: 0.9, 5: -1.0}, 2) == {4: 0.9, 3: 0.5}


@given(
    st.builds(
        Cursor,
        st.builds(Mark, st.integers(0, 1 << 62), st.integers(0, 99)),
        st.integers(0, 400),
        st.none() | st.integers(0, 9),
    )
)
def test_a_token_comes_back(cursor: Cursor) -> None:
    assert read_token(write_token(cursor, QUERY), QUERY) == cursor


def test_a_token_belongs_to_its_query() -> None:
    token = write_token(Cursor(Mark(5, 6), 20), QUERY)
    for other in (SearchQuery("person"), SearchQuery("person", like=SegmentRef("a", 1), filter=QUERY.filter)):
        with pytest.raises(ValueError, match="another search"):
            read_token(token, other)


@given(st.text(max_size=30) | st.binary(max_size=30).map(lambda body: base64.urlsafe_b64encode(body).decode()))
def test_any_other_text_is_no_token(text: str) -> None:
    with pytest.raises(ValueError):
        read_token(text, QUERY)


@pytest.mark.parametrize(
    "body",
    ["[1,2,3,null]", "[-1,0,0,null,0]", "[true,0,0,null,0]", "[1,2,1e400,null,0]", "{}", "1", '["a","b","c","d","e"]'],
)
def test_forged_tokens_are_refused(body: str) -> None:
    with pytest.raises(ValueError):
        read_token(base64.urlsafe_b64encode(body.encode()).decode(), QUERY)
