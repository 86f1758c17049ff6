"""Messages from queries and from JSON bodies."""

from __future__ import annotations

import json

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.api import messages as pb
from orchestrator.api.http.fields import from_query, parse, query_fields, short_names
from orchestrator.errors import InvalidRequest

SEARCH = {each.name: each for each in query_fields(pb.SearchRequest.DESCRIPTOR)}


def test_the_fields_of_a_message_within_a_message() -> None:
    assert {"query", "like.analysis_id", "filter.labels", "filter.min_duration", "page_token"} <= set(SEARCH)
    assert "like" not in SEARCH
    assert "filter" not in SEARCH
    assert "query" not in {each.name for each in query_fields(pb.SearchRequest.DESCRIPTOR, without=("query",))}


def test_a_query_spells_an_object() -> None:
    assert from_query(
        [
            ("query", "a"),
            ("filter.classes", "dog"),
            ("filter.classes", "cat"),
            ("filter.labels[a.b]", "1"),
            ("filter.labels[]", "2"),
            ("filter.has_face", "false"),
        ],
        SEARCH,
    ) == {"query": "a", "filter": {"classes": ["dog", "cat"], "labels": {"a.b": "1", "": "2"}, "has_face": False}}


def test_values_of_enums_have_short_names_too() -> None:
    fields = {each.name: each for each in query_fields(pb.ListAnalysesRequest.DESCRIPTOR)}
    given = [("states", "running"), ("states", "ANALYSIS_STATE_FAILED"), ("states", "unspecified"), ("states", "x")]
    assert from_query(given, fields)["states"] == [
        "ANALYSIS_STATE_RUNNING",
        "ANALYSIS_STATE_FAILED",
        "unspecified",
        "x",
    ]
    assert short_names(pb.AlertLevel.DESCRIPTOR) == {
        "warning": "ALERT_LEVEL_WARNING",
        "critical": "ALERT_LEVEL_CRITICAL",
    }


@given(st.lists(st.tuples(st.one_of(st.sampled_from(sorted(SEARCH)), st.text()), st.text()), max_size=4))
def test_any_query_is_taken_or_refused(parameters: list[tuple[str, str]]) -> None:
    try:
        parse(json.dumps(from_query(parameters, SEARCH)), pb.SearchRequest)
    except InvalidRequest as error:
        str(error).encode()


def refusal(body: bytes | str, message: type[Message]) -> InvalidRequest | None:
    """Why ``body`` is refused; ``None`` when it is taken."""
    try:
        parse(body, message)
    except InvalidRequest as error:
        return error
    return None


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(
            st.one_of(
                st.sampled_from(
                    ["config", "dryRun", "upload", "contentLength", "labels", "priority", "deadline", "path"]
                ),
                st.text(st.characters(), max_size=3),
            ),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=200)
@given(JSON)
def test_any_json_is_taken_or_refused_by_name(value: object) -> None:
    error = refusal(json.dumps(value), pb.CreateAnalysisRequest)
    if error is not None:
        str(error).encode()
        assert "field" in error.detail or not isinstance(value, dict) or "two of which" in str(error)


@given(st.binary(max_size=64))
def test_any_bytes_are_taken_or_refused(body: bytes) -> None:
    error = refusal(b"{" + body, pb.SearchRequest)
    if error is not None:
        str(error).encode()


@pytest.mark.parametrize("number", ["1e400", "9" * 5000, "NaN", "99999999999", "-1.5"])
def test_numbers_that_fit_nowhere(number: str) -> None:
    with pytest.raises(InvalidRequest):
        parse(f'{{"config": {{"priority": {number}}}}}', pb.CreateAnalysisRequest)
