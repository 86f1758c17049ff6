"""What is read equals what was written, bit for bit."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adapters.stores import codec
from orchestrator.core.jobs import AnalysisSpec, ReusePlan, SourceKind, SourceRef
from orchestrator.core.media import Ledger, LedgerMark, MediaInfo
from orchestrator.core.results import (
    At,
    Faces,
    FaceSighting,
    Failed,
    Finished,
    LabelScore,
    Moderation,
    ObjectTrack,
    Shot,
    Similarity,
    Started,
    TextLine,
    TrackPoint,
    Value,
)
from tests.support.store_values import MEDIA

floats = st.floats(allow_nan=False)
whole = st.integers(-(2**63), 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]))
boxes = st.tuples(floats, floats, floats, floats)
ats = st.builds(At, whole, whole)


def some(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(strategy, max_size=3).map(tuple)


narrow = some(st.floats(width=32, allow_nan=False))
vectors = st.one_of(narrow, some(floats))
sightings = st.builds(FaceSighting, floats, boxes, ats, whole, vectors)
values: st.SearchStrategy[Value] = st.one_of(
    st.builds(Shot, whole, st.booleans(), floats),
    some(st.builds(LabelScore, texts, floats, floats, ats)),
    some(st.builds(ObjectTrack, whole, texts, floats, some(st.builds(TrackPoint, ats, boxes, floats)))),
    some(st.builds(TextLine, texts, floats, boxes, ats, ats, whole)),
    st.builds(Faces, some(sightings), whole),
    st.builds(Moderation, texts, floats, floats, ats),
    st.builds(Similarity, vectors),
)  # type: ignore[assignment]
ledgers = st.builds(Ledger, *[st.integers(0, 2**63 - 1)] * 8)
rates = st.fractions(min_value=Fraction(1, 10**9))
medias = st.builds(
    MediaInfo, texts, texts, whole, whole, whole, rates, whole, st.none() | whole, st.none() | rates, st.integers(8, 16)
)
instants = st.datetimes(
    timezones=st.just(UTC) | st.integers(-12, 12).map(lambda hours: timezone(timedelta(hours=hours)))
)
pairs = some(st.tuples(texts, texts))
sources = st.builds(SourceRef, st.sampled_from(SourceKind), texts, st.none() | whole, texts)
specs = st.builds(
    AnalysisSpec,
    *(sources, texts, some(texts), texts, texts, whole, st.none() | instants, pairs, st.booleans(), st.booleans()),
    *(some(texts), texts),
)
wholes = st.one_of(
    specs,
    st.builds(ReusePlan, texts, some(texts)),
    st.builds(LedgerMark, whole, ledgers, st.none() | whole),
    st.builds(Started, medias, texts, some(texts), some(texts), texts),
    st.builds(Finished, whole, whole, whole, ledgers, st.booleans(), st.none() | whole, st.none() | texts, pairs),
    st.builds(Failed, texts, texts, texts, st.booleans(), pairs),
)
json_values = st.recursive(
    st.none() | st.booleans() | whole | floats.filter(math.isfinite) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_values_of_annotations_come_back(value: Value) -> None:
    read = codec.decode_value(*codec.encode_value(value))
    assert read == value
    assert repr(read) == repr(value)  # and so do the signs of zeros, and the types


@given(wholes)
def test_events_specs_and_ledgers_come_back(value: object) -> None:
    read = codec.decode(type(value), codec.encode(type(value), value))
    assert read == value


@given(json_values)
def test_json_comes_back(value: object) -> None:
    assert codec.decode_json(codec.encode_json(value)) == value


@given(st.lists(st.floats(width=32), max_size=20))
def test_a_vector_of_a_model_takes_four_bytes_a_number(numbers: list[float]) -> None:
    value = Similarity(tuple(number for number in numbers if not math.isnan(number)))
    text = codec.encode_value(value)[1]
    assert text.startswith('{"vector":"f4:')


def test_a_vector_that_float32_would_bend_keeps_its_bits() -> None:
    value = Similarity((0.1, 1e300, -0.0))
    kind, text = codec.encode_value(value)
    assert '"f8:' in text
    assert repr(codec.decode_value(kind, text)) == repr(value)


def test_numpy_numbers_are_numbers() -> None:
    value = Similarity(tuple(np.arange(3, dtype=np.float32)))
    assert codec.decode_value(*codec.encode_value(value)) == Similarity((0.0, 1.0, 2.0))
    shot = Shot(0, True, np.float64(0.25))
    assert codec.decode_value(*codec.encode_value(shot)) == shot


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_no_number_turns_into_nothing(number: float) -> None:
    kind, text = codec.encode_value(Shot(0, True, number))
    read = codec.decode_value(kind, text)
    assert isinstance(read, Shot)
    assert repr(read.score) == repr(number)
    for value in ({"a": [None, number]}, [number], number):
        with pytest.raises(ValueError):
            codec.encode_json(value)


@pytest.mark.parametrize("value", [{1: 2}, {"a": {1}}, 2**64, np.float32(1)])
def test_what_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        codec.encode_json(value)


def test_a_field_that_an_older_version_did_not_write_takes_its_default() -> None:
    text = codec.encode(MediaInfo, MEDIA)
    assert '"bit_depth":8' in text
    older = text.replace(',"bit_depth":8', "").replace('"bit_depth":8,', "")
    assert codec.decode(MediaInfo, older) == MEDIA


def test_what_version_1_wrote_is_still_read() -> None:
    written = {
        "SHOT": '{"shot_index":3,"starts_shot":true,"score":0.5}',
        "LABELS": '[{"label":"dog","score":0.25,"best_score":0.5,"best":{"frame":4,"pts":2048}}]',
        "OBJECTS": '[{"track_id":1,"label":"car","score":0.5,"points":'
        '[{"at":{"frame":1,"pts":2},"box":[0.0,0.25,0.5,1.0],"score":0.75}]}]',
        "TEXT": '[{"text":"hi","score":1.0,"box":[0.0,0.0,1.0,1.0],"first":{"frame":1,"pts":2},'
        '"last":{"frame":3,"pts":4},"readings":2}]',
        "FACES": '{"faces":[{"score":0.5,"box":[0.0,0.0,1.0,1.0],"at":{"frame":1,"pts":2},"sightings":1,'
        '"vector":"f4:AACAPwAAAL8="}],"most_at_once":1}',
        "MODERATION": '{"label":"unsafe","max_score":0.5,"mean_score":0.25,"at":{"frame":1,"pts":2}}',
        "SIMILARITY": '{"vector":"f8:mpmZmZmZuT8="}',
        "NOTHING": "[]",
    }
    assert set(written) == set(codec.VALUES)
    for kind, text in written.items():
        assert codec.encode_value(codec.decode_value(kind, text)) == (kind, text)
    assert codec.decode_value("SIMILARITY", written["SIMILARITY"]) == Similarity((0.1,))


@given(st.datetimes(timezones=st.just(UTC)))
def test_instants_are_whole_microseconds(instant: datetime) -> None:
    assert codec.from_us(codec.to_us(instant)) == instant
