"""From requests to the domain, and from domain events to responses."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from orchestrator.api import messages as pb
from orchestrator.api.convert_values import Clock, set_value
from orchestrator.core.media import Ledger, MediaInfo
from orchestrator.core.results import (
    AnalysisEvent,
    Annotation,
    Finished,
    ModelVersion,
    Progress,
    Segment,
    SegmentClosed,
    Started,
    Thumbnail,
)
from orchestrator.errors import InvalidRequest
from orchestrator.pipeline.service import AnalysisConfig

MAX_REQUEST_ID_BYTES = 128


def analysis_config(message: pb.AnalysisConfig) -> AnalysisConfig:
    """The configuration in ``message``; raises ``InvalidRequest``."""
    if message.WhichOneof("source") is None:
        raise InvalidRequest("the configuration names no source: set path or upload")
    size = len(message.request_id.encode())
    if size > MAX_REQUEST_ID_BYTES:
        raise InvalidRequest(f"request_id is at most {MAX_REQUEST_ID_BYTES} bytes, got {size}")
    if message.upload.content_length < 0:
        raise InvalidRequest(f"content_length must not be negative, got {message.upload.content_length}")
    return AnalysisConfig(
        profile=message.profile or "default",
        analyzers=tuple(message.analyzers),
        request_id=message.request_id,
        priority=message.priority,
    )


class EventConverter:
    """Converts the events of one analysis. It must see ``Started`` first: only that tells the time base."""

    def __init__(self) -> None:
        self._clock: Clock | None = None

    def see(self, event: AnalysisEvent) -> None:
        """Learn from ``event`` without converting it."""
        if isinstance(event, Started):
            self._clock = Clock(event.media.time_base, event.media.start_pts)

    def response(
        self, analysis_id: str, sequence: int, event: Started | Progress | SegmentClosed | Finished
    ) -> pb.AnalyzeResponse:
        """``event`` as a message, stamped with the present time."""
        response = pb.AnalyzeResponse(analysis_id=analysis_id, sequence=sequence)
        response.create_time.GetCurrentTime()
        match event:
            case Started():
                self.see(event)
                response.started.CopyFrom(_started(event))
            case Progress():
                response.progress.CopyFrom(_progress(event))
            case SegmentClosed(segment):
                if self._clock is None:
                    raise ValueError(f"segment {segment.index} came before the analysis started")
                response.segment.CopyFrom(_segment(segment, self._clock))
            case Finished():
                response.finished.CopyFrom(_finished(event))
        return response


def upload_progress(analysis_id: str, committed: int) -> pb.AnalyzeResponse:
    """An acknowledgement of ``committed`` bytes, stamped with the present time."""
    response = pb.AnalyzeResponse(analysis_id=analysis_id, upload_progress=pb.UploadProgress(committed_bytes=committed))
    response.create_time.GetCurrentTime()
    return response


def _started(event: Started) -> pb.Started:
    return pb.Started(media=_media(event.media), profile=event.profile, analyzers=event.analyzers)


def _media(media: MediaInfo) -> pb.MediaInfo:
    rate = media.average_rate
    return pb.MediaInfo(
        container=media.container,
        codec=media.codec,
        width=media.width,
        height=media.height,
        rotation_degrees=media.rotation,
        bit_depth=media.bit_depth,
        time_base=_time_base(media.time_base),
        start_pts=media.start_pts,
        declared_duration_ns=media.duration_ns,
        average_frame_rate=None
        if rate is None
        else pb.FrameRate(numerator=rate.numerator, denominator=rate.denominator),
    )


def _time_base(time_base: Fraction) -> pb.TimeBase:
    return pb.TimeBase(numerator=time_base.numerator, denominator=time_base.denominator)


def _ledger(ledger: Ledger) -> pb.Ledger:
    return pb.Ledger(
        source_frames=ledger.source,
        expected_frames=ledger.expected,
        decoded_frames=ledger.decoded,
        corrupt_frames=ledger.corrupt,
        dropped_frames=ledger.dropped,
        skipped_frames=ledger.skipped,
        reused_frames=ledger.reused,
        redecoded_frames=ledger.redecoded,
    )


def _progress(event: Progress) -> pb.Progress:
    return pb.Progress(
        media_ns=event.media_ns,
        elapsed_ns=event.elapsed_ns,
        realtime_factor=event.realtime_factor,
        eta_ns=event.eta_ns,
        ledger=_ledger(event.ledger),
    )


def _finished(event: Finished) -> pb.Finished:
    return pb.Finished(
        segment_count=event.segments,
        media_ns=event.media_ns,
        elapsed_ns=event.elapsed_ns,
        realtime_factor=event.elapsed_ns / event.media_ns if event.media_ns else 0.0,
        ledger=_ledger(event.ledger),
        partial=event.partial,
        first_bad_pts=event.first_bad_pts,
        fault=event.fault or "",
    )


def _segment(segment: Segment, clock: Clock) -> pb.Segment:
    interval = segment.interval
    return pb.Segment(
        index=segment.index,
        interval=pb.Interval(
            start_frame=interval.start_frame,
            end_frame=interval.end_frame,
            start_pts=interval.start_pts,
            end_pts=interval.end_pts,
            time_base=_time_base(clock.time_base),
            start_ns=clock.offset_ns(interval.start_pts),
            end_ns=clock.offset_ns(interval.end_pts),
        ),
        annotations=[_annotation(annotation, clock) for annotation in segment.annotations],
        thumbnail=None if segment.thumbnail is None else _thumbnail(segment.thumbnail, clock),
        final=segment.final,
    )


def _annotation(annotation: Annotation, clock: Clock) -> pb.Annotation:
    message = pb.Annotation(
        analyzer=annotation.analyzer,
        models=_models(annotation.models),
        frames_analyzed=annotation.frames_analyzed,
        frames_reused=annotation.frames_reused,
    )
    set_value(message, annotation.value, clock)
    return message


def _models(models: Iterable[ModelVersion]) -> list[pb.ModelVersion]:
    return [pb.ModelVersion(name=model.name, version=model.version, digest=model.digest) for model in models]


def _thumbnail(thumbnail: Thumbnail, clock: Clock) -> pb.Thumbnail:
    return pb.Thumbnail(
        jpeg=thumbnail.jpeg,
        position=clock.position(thumbnail.at),
        width=thumbnail.width,
        height=thumbnail.height,
    )
