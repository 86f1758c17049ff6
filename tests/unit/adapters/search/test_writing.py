"""What the indexer writes: no parser of a database stands between our words and its own."""

from __future__ import annotations

from orchestrator.adapters.search.writing import ascii_word, sqlite_words, tsvector, vector_text


def test_words_of_fts5_are_ascii() -> None:
    assert sqlite_words(["Zürich: FERRIES", "北"]) == "zurich ferry ue58c97"
    assert ascii_word("ferry") == "ferry"


def test_a_tsvector_has_a_gap_between_texts() -> None:
    assert tsvector(["river ferry", "ferry's"]) == "'river':1 'ferry':2,4 's':5"
    assert tsvector([]) == ""
    assert "16000" not in tsvector(["word " * 20_000])  # positions end at 16383


def test_vectors_as_pgvector_reads_them() -> None:
    assert vector_text([0.5, -1e-9, 1 / 3]) == "[0.5,-1e-09,0.33333333]"
