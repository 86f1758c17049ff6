"""What Content-Range and Content-Length announce."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api.http.media import MAX_OFFSET, Piece, piece_of
from orchestrator.errors import InvalidRequest

SIZES = st.integers(0, MAX_OFFSET - 1)


@given(SIZES, SIZES, SIZES, st.booleans())
def test_a_piece_lies_where_its_range_says(one: int, other: int, more: int, known: bool) -> None:
    first, last = sorted((one, other))
    total = min(last + 1 + more, MAX_OFFSET) if known else None
    piece = piece_of(f"bytes {first}-{last}/{'*' if total is None else total}", last + 1 - first)
    assert piece == Piece(first, last + 1, total)
    assert piece.last == (total == last + 1)
    assert not piece.asks


@given(st.text(), st.one_of(st.none(), st.integers(0)))
def test_any_header_is_taken_or_refused(text: str, length: int | None) -> None:
    for header in (text, f"bytes {text}", f"bytes 0-{text}/*", f"bytes */{text}"):
        try:
            piece = piece_of(header, length)
        except InvalidRequest:
            continue
        assert 0 <= piece.first <= (piece.end or 0)
        assert length in (None, (piece.end or 0) - piece.first)


def test_without_a_range_it_is_the_whole_media() -> None:
    assert piece_of(None, 5) == Piece(0, 5, 5)
    assert piece_of(None, 5).last
    assert piece_of(None, None) == Piece(0, None, None)
    assert piece_of(None, None).last
    with pytest.raises(InvalidRequest):
        piece_of(None, 0)


def test_a_question() -> None:
    assert piece_of("bytes */*", 0).asks
    assert piece_of("bytes */7", None) == Piece(0, 0, 7)
    with pytest.raises(InvalidRequest):
        piece_of("bytes */7", 7)


@pytest.mark.parametrize(
    "text", ["bytes ٣-٤/*", "bytes 0-1", "bytes=0-1/2", "0-1/2", "bytes 1-0/5", "bytes 0-5/5", "bytes 0-0/0"]
)
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(InvalidRequest):
        piece_of(text, None)
