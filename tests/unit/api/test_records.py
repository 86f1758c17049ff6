"""A record becomes a message that says the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest

from orchestrator.api import messages as pb
from orchestrator.api import records, requests
from orchestrator.core.jobs import (
    AnalysisRecord,
    AnalysisSpec,
    AnalysisState,
    Estimate,
    ReusePlan,
    SourceKind,
    SourceRef,
    UploadState,
)
from orchestrator.core.media import Ledger, MediaInfo
from orchestrator.core.results import Failed, Finished, ModelVersion, Started

BORN = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
MEDIA = MediaInfo("mov", "h264", 64, 48, 0, Fraction(1, 25), 0, None, None)
PATH = AnalysisSpec(SourceRef(SourceKind.PATH, "/clip"))
FULL = AnalysisSpec(
    SourceRef(SourceKind.UPLOAD, "u", 5),
    "fast",
    ("text",),
    "t",
    "r",
    3,
    BORN,
    (("k", "v"),),
    bound=True,
    reuse=False,
    retry_of="earlier",
)


def test_a_new_one_says_little() -> None:
    message = records.analysis(AnalysisRecord("a", PATH, AnalysisState.QUEUED, BORN))
    assert (message.analysis_id, message.state) == ("a", pb.AnalysisState.ANALYSIS_STATE_QUEUED)
    assert message.create_time.ToDatetime(UTC) == BORN
    assert (message.config.path, message.config.profile, message.config.HasField("deadline")) == (
        "/clip",
        "default",
        False,
    )
    for absent in ("start_time", "end_time", "media", "upload", "result", "failure"):
        assert not message.HasField(absent), absent


def test_everything_is_told() -> None:
    record = AnalysisRecord(
        "a",
        FULL,
        AnalysisState.SUCCEEDED,
        BORN,
        BORN + timedelta(seconds=1),
        BORN + timedelta(seconds=2),
        attempts=2,
        segments=7,
        last_sequence=9,
        upload=UploadState(5, True),
        started=Started(MEDIA, "default", ("text",)),
        content_digest="ab" * 32,
        reuse=ReusePlan("b", ("text",)),
        result=Finished(7, 5, 6, Ledger(1, 1, 1), False, None, None),
    )
    message = records.analysis(record)
    assert (message.attempt_count, message.segment_count, message.last_sequence) == (2, 7, 9)
    assert (message.start_time.ToDatetime(UTC), message.end_time.ToDatetime(UTC)) == (
        record.start_time,
        record.end_time,
    )
    assert (message.upload.committed_bytes, message.upload.complete) == (5, True)
    assert (message.media.codec, message.content_digest, message.result.segment_count) == ("h264", "ab" * 32, 7)
    assert (list(message.reused_analyzers), message.reused_from, message.retry_of) == (["text"], "b", "earlier")
    assert message.config.upload.content_length == 5


def test_a_failure_is_told_as_its_streams_tell_it() -> None:
    failed = Failed("DISK_FULL", "RESOURCE_EXHAUSTED", "no room", True, (("limit", "5"),))
    message = records.analysis(AnalysisRecord("a", PATH, AnalysisState.FAILED, BORN, failure=failed))
    assert message.failure == pb.Failure(
        reason="DISK_FULL", grpc_code="RESOURCE_EXHAUSTED", message="no room", retryable=True, metadata={"limit": "5"}
    )


@pytest.mark.parametrize("state", AnalysisState)
def test_every_state_has_its_name(state: AnalysisState) -> None:
    message = records.analysis(AnalysisRecord("a", PATH, state, BORN))
    assert pb.AnalysisState.Name(message.state) == f"ANALYSIS_STATE_{state.value}"
    assert len(pb.AnalysisState.values()) == len(AnalysisState) + 1


def test_the_configuration_that_is_told_asks_for_the_same() -> None:
    for spec in (PATH, FULL):
        told = records.analysis(AnalysisRecord("a", spec, AnalysisState.QUEUED, BORN)).config
        again = requests.analysis_spec(told, bindable=True)
        assert (again.profile, again.labels, again.deadline, again.bound, again.reuse) == (
            spec.profile,
            spec.labels,
            spec.deadline,
            spec.bound,
            spec.reuse,
        )
        assert (again.source.kind, again.source.size) == (spec.source.kind, spec.source.size)


def test_an_estimate() -> None:
    models = (ModelVersion("objects", "3", "ab" * 32),)
    told = records.estimate(Estimate(("objects",), models, MEDIA, 5, 0, ("text",)))
    assert (told.processing_ns, told.HasField("waiting_ns"), told.waiting_ns) == (5, True, 0)
    assert (list(told.analyzers), told.models[0].version, list(told.reusable_analyzers)) == (["objects"], "3", ["text"])
    unknown = records.estimate(Estimate((), ()))
    assert not unknown.HasField("media")
    assert not unknown.HasField("processing_ns")


def test_an_acknowledgement_has_no_place_in_the_log() -> None:
    response = records.acknowledgement("a", UploadState(12, True))
    assert (response.sequence, response.upload_progress.committed_bytes, response.upload_progress.complete) == (
        0,
        12,
        True,
    )
    assert response.HasField("create_time")
