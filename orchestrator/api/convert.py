"""From domain events to responses."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

from orchestrator.api import messages as pb
from orchestrator.api.convert_values import Clock, set_value
from orchestrator.core.media import Ledger, MediaInfo
from orchestrator.core.results import (
    Annotation,
    Finished,
    ModelVersion,
    Progress,
    Segment,
    SegmentClosed,
    Started,
    Thumbnail,
)
from orchestrator.core.timeline import Interval


class EventConverter:
    """Converts the events of one analysis. It must see ``Started``, or ``learn`` of the media, before any segment."""

    def __init__(self) -> None:
        self._clock: Clock | None = None

    @property
    def knows_time(self) -> bool:
        """Whether it can convert segments."""
        return self._clock is not None

    def learn(self, media: MediaInfo | None) -> None:
        """Take the time base from ``media``."""
        if media is not None:
            self._clock = Clock(media.time_base, media.start_pts)

    def response(
        self, analysis_id: str, sequence: int, event: Started | Progress | SegmentClosed | Finished
    ) -> pb.AnalyzeResponse:
        """``event`` as a message, stamped with the present time."""
        response = pb.AnalyzeResponse(analysis_id=analysis_id, sequence=sequence)
        response.create_time.GetCurrentTime()
        match event:
            case Started():
                self.learn(event.media)
                response.started.CopyFrom(_started(event))
            case Progress():
                response.progress.CopyFrom(_progress(event))
            case SegmentClosed(segment):
                if self._clock is None:
                    raise ValueError(f"segment {segment.index} came before the analysis started")
                response.segment.CopyFrom(_segment(segment, self._clock))
            case Finished():
                response.finished.CopyFrom(finished(event))
        return response


def _started(event: Started) -> pb.Started:
    return pb.Started(
        media=media_info(event.media),
        profile=event.profile,
        analyzers=event.analyzers,
        reused_analyzers=event.reused,
        reused_from=event.reused_from,
        decoder=event.decoder,
    )


def media_info(media: MediaInfo) -> pb.MediaInfo:
    """The facts of a media."""
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


def finished(event: Finished) -> pb.Finished:
    """The summary of an analysis."""
    return pb.Finished(
        segment_count=event.segments,
        media_ns=event.media_ns,
        elapsed_ns=event.elapsed_ns,
        realtime_factor=event.elapsed_ns / event.media_ns if event.media_ns else 0.0,
        ledger=_ledger(event.ledger),
        partial=event.partial,
        first_bad_pts=event.first_bad_pts,
        fault=event.fault or "",
        failed_analyzers=dict(event.failed_analyzers),
    )


def interval(given: Interval, time_base: Fraction, start_ns: int, end_ns: int) -> pb.Interval:
    """A stretch of media; ``start_ns`` and ``end_ns`` count from its first frame."""
    return pb.Interval(
        start_frame=given.start_frame,
        end_frame=given.end_frame,
        start_pts=given.start_pts,
        end_pts=given.end_pts,
        time_base=_time_base(time_base),
        start_ns=start_ns,
        end_ns=end_ns,
    )


def _segment(segment: Segment, clock: Clock) -> pb.Segment:
    shown = segment.interval
    start_ns, end_ns = clock.offset_ns(shown.start_pts), clock.offset_ns(shown.end_pts)
    return pb.Segment(
        index=segment.index,
        interval=interval(shown, clock.time_base, start_ns, end_ns),
        annotations=[_annotation(annotation, clock) for annotation in segment.annotations],
        thumbnail=None if segment.thumbnail is None else _thumbnail(segment.thumbnail, clock),
        final=segment.final,
    )


def _annotation(annotation: Annotation, clock: Clock) -> pb.Annotation:
    message = pb.Annotation(
        analyzer=annotation.analyzer,
        models=model_versions(annotation.models),
        frames_analyzed=annotation.frames_analyzed,
        frames_reused=annotation.frames_reused,
    )
    set_value(message, annotation.value, clock)
    return message


def model_versions(models: Iterable[ModelVersion]) -> list[pb.ModelVersion]:
    """Models and their digests."""
    return [pb.ModelVersion(name=model.name, version=model.version, digest=model.digest) for model in models]


def _thumbnail(thumbnail: Thumbnail, clock: Clock) -> pb.Thumbnail:
    return pb.Thumbnail(
        jpeg=thumbnail.jpeg,
        position=clock.position(thumbnail.at),
        width=thumbnail.width,
        height=thumbnail.height,
    )
