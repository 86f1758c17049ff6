"""JSON lines are the API's own messages: they parse as such, and say the same."""

from __future__ import annotations

import json
from dataclasses import replace

from google.protobuf import json_format
from hypothesis import given, settings

from orchestrator.api import messages as pb
from orchestrator.api.convert import EventConverter
from orchestrator.core.jobs import AnalysisState
from orchestrator.core.results import Failed, SegmentClosed
from tests.unit.exports.made import Made, analyses, composite


def told(made: Made) -> list[pb.AnalyzeResponse]:
    """What WatchAnalysis sends of ``made``."""
    record, convert = made.record, EventConverter()
    assert record.started is not None
    events = [record.started, *map(SegmentClosed, made.segments), record.result]
    responses = [convert.response(record.id, sequence, event) for sequence, event in enumerate(events, 1)]
    for response in responses:
        response.ClearField("create_time")
    return responses


@settings(max_examples=25, deadline=None)
@given(made=analyses())
def test_lines_are_the_messages_of_watch_analysis(made: Made) -> None:
    lines = made.file("jsonl").splitlines(keepends=True)
    assert all(line.endswith(b"}\n") for line in lines)
    assert [json_format.Parse(line, pb.AnalyzeResponse()) for line in lines] == told(made)


@settings(max_examples=15, deadline=None)
@given(made=analyses())
def test_names_and_types_are_those_of_protobuf_json(made: Made) -> None:
    for line, message in zip(made.file("jsonl").splitlines(), told(made), strict=True):
        assert shape(json.loads(line)) == shape(json.loads(pb.to_json(message)))


def shape(value: object) -> object:
    """Names and types, without the values (a float may print without its fraction)."""
    match value:
        case dict():
            return {name: shape(member) for name, member in value.items()}
        case list():
            return [shape(member) for member in value]
        case bool() | str() | None:
            return type(value)
    return float


def test_scores_keep_every_digit() -> None:
    made = composite()
    lines = [json.loads(line) for line in made.file("jsonl").splitlines()]
    first = lines[1]["segment"]["annotations"]
    assert first[1]["labels"]["labels"][0]["score"] == 0.1331
    assert first[3]["text"]["lines"][0]["score"] == 0.9833


def test_the_profiles_own_analyzers_are_told() -> None:
    made = composite()
    assert made.record.started is not None
    record = replace(
        made.record,
        spec=replace(made.record.spec, profile="", analyzers=()),
        started=replace(made.record.started, profile="default", analyzers=("shots", "labels")),
    )
    line = json.loads(Made(record, made.segments).file("jsonl").splitlines()[0])
    assert (line["started"]["profile"], line["started"]["analyzers"]) == ("default", ["shots", "labels"])


def test_a_failed_analysis_says_so_at_the_end() -> None:
    made = composite()
    failure = Failed("DECODE_BUDGET", "RESOURCE_EXHAUSTED", "too slow", False, (("frame", "7"),))
    record = replace(made.record, state=AnalysisState.FAILED, result=None, failure=failure)
    *_, segment, last = map(json.loads, Made(record, made.segments).file("jsonl").splitlines())
    assert "segment" in segment
    assert last == {
        "analysisId": "a-1",
        "sequence": str(len(made.segments) + 2),
        "failed": {
            "reason": "DECODE_BUDGET",
            "grpcCode": "RESOURCE_EXHAUSTED",
            "message": "too slow",
            "retryable": False,
            "metadata": {"frame": "7"},
        },
    }
