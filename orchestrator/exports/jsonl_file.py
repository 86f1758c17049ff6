"""JSON lines: the log of the analysis as WatchAnalysis tells it, one object per line.

Names and shapes are those of the API's JSON (``AnalyzeResponse`` in ``protos/reelsift/v1``): 64-bit integers are strings,
bytes are base64. Streams: one segment in memory.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from orchestrator.core.media import Ledger
from orchestrator.core.results import Annotation, Finished, Segment
from orchestrator.exports.json_values import annotation_value, position, rational
from orchestrator.exports.subject import Subject

Json = dict[str, Any]


def write(subject: Subject, segments: Iterable[Segment]) -> Iterator[bytes]:
    """``started``, a ``segment`` per segment, then ``finished``, or ``failed`` where the API ends with an error."""
    record = subject.record
    yield _line(subject, 1, {"started": _started(subject)})
    sequence = 1
    for segment in segments:
        sequence = segment.index + 2
        yield _line(subject, sequence, {"segment": _segment(subject, segment)})
    if record.result is not None:
        yield _line(subject, sequence + 1, {"finished": _finished(record.result)})
    elif record.failure is not None:
        failure = record.failure
        failed = {
            "reason": failure.reason,
            "grpcCode": failure.grpc_code,
            "message": failure.message,
            "retryable": failure.retryable,
            "metadata": dict(failure.detail),
        }
        yield _line(subject, sequence + 1, {"failed": failed})


def _line(subject: Subject, sequence: int, event: Json) -> bytes:
    line = {"analysisId": subject.record.id, "sequence": str(sequence), **event}
    return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)


def _started(subject: Subject) -> Json:
    media = subject.media
    facts: Json = {
        "container": media.container,
        "codec": media.codec,
        "width": media.width,
        "height": media.height,
        "rotationDegrees": media.rotation,
        "bitDepth": media.bit_depth,
        "timeBase": rational(media.time_base),
        "startPts": str(media.start_pts),
    }
    if media.duration_ns is not None:
        facts["declaredDurationNs"] = str(media.duration_ns)
    if media.average_rate is not None:
        facts["averageFrameRate"] = rational(media.average_rate)
    started = subject.started
    said: Json = {"media": facts, "profile": started.profile, "analyzers": list(started.analyzers)}
    said["decoder"] = started.decoder
    if started.reused:
        said |= {"reusedAnalyzers": list(started.reused), "reusedFrom": started.reused_from}
    return said


def _segment(subject: Subject, segment: Segment) -> Json:
    interval = segment.interval
    fields: Json = {
        "index": segment.index,
        "interval": {
            "startFrame": str(interval.start_frame),
            "endFrame": str(interval.end_frame),
            "startPts": str(interval.start_pts),
            "endPts": str(interval.end_pts),
            "timeBase": rational(subject.media.time_base),
            "startNs": str(subject.ns(interval.start_pts)),
            "endNs": str(subject.ns(interval.end_pts)),
        },
        "annotations": [_annotation(subject, annotation) for annotation in segment.annotations],
        "final": segment.final,
    }
    if segment.thumbnail is not None:
        fields["thumbnail"] = {
            "jpeg": b64encode(segment.thumbnail.jpeg).decode(),
            "position": position(subject, segment.thumbnail.at),
            "width": segment.thumbnail.width,
            "height": segment.thumbnail.height,
        }
    return fields


def _annotation(subject: Subject, annotation: Annotation) -> Json:
    return {
        "analyzer": annotation.analyzer,
        "models": [{"name": m.name, "version": m.version, "digest": m.digest} for m in annotation.models],
        "framesAnalyzed": str(annotation.frames_analyzed),
        "framesReused": str(annotation.frames_reused),
        **annotation_value(subject, annotation),
    }


def _finished(result: Finished) -> Json:
    fields: Json = {
        "segmentCount": result.segments,
        "mediaNs": str(result.media_ns),
        "elapsedNs": str(result.elapsed_ns),
        "realtimeFactor": result.elapsed_ns / result.media_ns if result.media_ns else 0.0,
        "ledger": _ledger(result.ledger),
        "partial": result.partial,
        "fault": result.fault or "",
        "failedAnalyzers": dict(result.failed_analyzers),
    }
    if result.first_bad_pts is not None:
        fields["firstBadPts"] = str(result.first_bad_pts)
    return fields


def _ledger(ledger: Ledger) -> Json:
    names = ("source", "expected", "decoded", "corrupt", "dropped", "skipped", "reused", "redecoded")
    return {f"{name}Frames": str(getattr(ledger, name)) for name in names}
