"""Analyses in words, for people. Whatever a client or a media named is hostile: no control character survives."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol

from orchestrator.api import messages as pb
from orchestrator.cli import describe
from orchestrator.cli.describe import printable

Rows = list[tuple[str, str]]


class Moment(Protocol):
    """A protobuf Timestamp."""

    seconds: int


def state_name(analysis: pb.Analysis) -> str:
    """The state in lower case; "partial" where it succeeded with frames missing."""
    if analysis.result.partial:
        return "partial"
    return pb.AnalysisState.Name(analysis.state).removeprefix("ANALYSIS_STATE_").lower()


def moment(timestamp: Moment) -> str:
    """A time of the day, UTC, to the second."""
    return datetime.fromtimestamp(timestamp.seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def source_name(config: pb.AnalysisConfig) -> str:
    """Where the bytes come from."""
    if config.WhichOneof("source") == "path":
        return printable(config.path)
    if config.upload.HasField("content_length"):
        return f"upload, {config.upload.content_length / 1e6:,.1f} MB"
    return "upload"


def labels(config: pb.AnalysisConfig) -> str:
    """Labels in order of their keys."""
    return printable(" ".join(f"{key}={config.labels[key]}" for key in sorted(config.labels)))


def analysis_rows(analysis: pb.Analysis) -> Rows:
    """Everything of an analysis, as (name, words)."""
    config = analysis.config
    rows = [
        ("id", analysis.analysis_id),
        ("state", state_name(analysis)),
        ("source", source_name(config)),
        ("upload", _upload(analysis.upload) if analysis.HasField("upload") else ""),
        ("sha256", analysis.content_digest),
        ("media", describe.media_line(analysis.media) if analysis.HasField("media") else ""),
        ("profile", printable(config.profile)),
        ("analyzers", printable(", ".join(config.analyzers))),
        ("tenant", printable(config.tenant)),
        ("labels", labels(config)),
        ("request", printable(config.request_id)),
        ("priority", str(config.priority) if config.priority else ""),
        ("deadline", moment(config.deadline) if config.HasField("deadline") else ""),
        ("created", moment(analysis.create_time)),
        ("started", moment(analysis.start_time) if analysis.HasField("start_time") else ""),
        ("ended", moment(analysis.end_time) if analysis.HasField("end_time") else ""),
        ("attempts", str(analysis.attempt_count)),
        ("segments", f"{analysis.segment_count:,}"),
        ("sequence", str(analysis.last_sequence)),
        ("retry of", analysis.retry_of),
        ("taken over", _reuse(analysis)),
    ]
    if analysis.HasField("result"):
        rows += [("result", line) for line in describe.summary_lines(analysis.result)]
        failed = analysis.result.failed_analyzers
        rows += [("gave up", printable(f"{name}: {failed[name]}")) for name in sorted(failed)]
    if analysis.HasField("failure"):
        rows.append(("failure", printable(f"{analysis.failure.reason}: {analysis.failure.message}")))
    return [(name, words) for name, words in rows if words]


def estimate_rows(estimate: pb.Estimate) -> Rows:
    """What an analysis would be and take, as (name, words)."""
    models = (f"{model.name} {model.version} ({model.digest[:12]})" for model in estimate.models)
    rows = [
        ("media", describe.media_line(estimate.media) if estimate.HasField("media") else ""),
        ("analyzers", printable(", ".join(estimate.analyzers))),
        ("models", printable("\n".join(models))),
        ("known", printable(", ".join(estimate.reusable_analyzers))),
        ("waits", _about(estimate.waiting_ns) if estimate.HasField("waiting_ns") else "unknown"),
        ("takes", _about(estimate.processing_ns) if estimate.HasField("processing_ns") else "unknown"),
    ]
    return [(name, words) for name, words in rows if words]


def _about(ns: int) -> str:
    return f"about {describe.duration(ns)}"


def _upload(upload: pb.UploadProgress) -> str:
    return f"{upload.committed_bytes:,} bytes on disk, {'complete' if upload.complete else 'more to come'}"


def _reuse(analysis: pb.Analysis) -> str:
    if not analysis.reused_from:
        return ""
    return f"{printable(', '.join(analysis.reused_analyzers))} from {analysis.reused_from}"
