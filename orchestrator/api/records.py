"""From the records of analyses to their messages."""

from __future__ import annotations

from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp

from orchestrator.api import convert
from orchestrator.api import messages as pb
from orchestrator.core.jobs import AnalysisRecord, AnalysisSpec, Estimate, SourceKind, UploadState
from orchestrator.core.results import Failed


def analysis(record: AnalysisRecord) -> pb.Analysis:
    """``record`` as a message."""
    return pb.Analysis(
        analysis_id=record.id,
        state=pb.AnalysisState.Value(f"ANALYSIS_STATE_{record.state.value}"),
        config=_config(record.spec),
        create_time=timestamp(record.create_time),
        start_time=timestamp(record.start_time),
        end_time=timestamp(record.end_time),
        attempt_count=record.attempts,
        segment_count=record.segments,
        last_sequence=record.last_sequence,
        media=None if record.media is None else convert.media_info(record.media),
        content_digest=record.content_digest or "",
        upload=upload_state(record.upload) if record.spec.source.kind is SourceKind.UPLOAD else None,
        result=None if record.result is None else convert.finished(record.result),
        failure=None if record.failure is None else _failure(record.failure),
        reused_analyzers=() if record.reuse is None else record.reuse.analyzers,
        reused_from="" if record.reuse is None else record.reuse.analysis_id,
        retry_of=record.spec.retry_of,
    )


def estimate(found: Estimate) -> pb.Estimate:
    """``found`` as a message."""
    return pb.Estimate(
        media=None if found.media is None else convert.media_info(found.media),
        processing_ns=found.processing_ns,
        waiting_ns=found.waiting_ns,
        analyzers=found.analyzers,
        models=convert.model_versions(found.models),
        reusable_analyzers=found.reusable,
    )


def upload_state(upload: UploadState) -> pb.UploadProgress:
    """The state of an upload."""
    return pb.UploadProgress(committed_bytes=upload.committed, complete=upload.complete)


def acknowledgement(analysis_id: str, upload: UploadState) -> pb.AnalyzeResponse:
    """The response that tells ``upload``, stamped with the present time."""
    response = pb.AnalyzeResponse(analysis_id=analysis_id, upload_progress=upload_state(upload))
    response.create_time.GetCurrentTime()
    return response


def _config(spec: AnalysisSpec) -> pb.AnalysisConfig:
    config = pb.AnalysisConfig(
        profile=spec.profile,
        analyzers=spec.analyzers,
        request_id=spec.request_id,
        priority=spec.priority,
        tenant=spec.tenant,
        labels=dict(spec.labels),
        deadline=timestamp(spec.deadline),
        cancel_on_disconnect=spec.bound,
        ignore_known=not spec.reuse,
    )
    match spec.source.kind:
        case SourceKind.PATH:
            config.path = spec.source.name
        case SourceKind.UPLOAD:
            config.upload.CopyFrom(pb.Upload(content_length=spec.source.size))
    return config


def _failure(failed: Failed) -> pb.Failure:
    return pb.Failure(
        reason=failed.reason,
        grpc_code=failed.grpc_code,
        message=failed.message,
        retryable=failed.retryable,
        metadata=dict(failed.detail),
    )


def timestamp(moment: datetime | None) -> Timestamp | None:
    """``moment`` as a message."""
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
