"""Segments and summaries in words, for people.

Text that was found in a media is hostile: no control character survives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from orchestrator.api import messages as pb

TOP_LABELS = 4


def printable(text: str) -> str:
    """``text`` without control characters, escape sequences' starts among them."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def short(label: str) -> str:
    """The first of the synonyms in a class's name ("tram, tramcar" is one class)."""
    return label.partition(",")[0]


def clock(ns: int) -> str:
    """``ns`` as H:MM:SS.mmm, rounded down."""
    seconds, rest = divmod(ns, 1_000_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}.{rest // 1_000_000:03}"


def duration(ns: int) -> str:
    """``ns`` for a reader: "8.1 s", "2 min 5 s", "1 h 4 min"."""
    if ns < 60_000_000_000:
        return f"{ns / 1e9:.1f} s"
    minutes, seconds = divmod(ns // 1_000_000_000, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def counted(number: int, noun: str) -> str:
    """ "1 frame", "2 frames"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def media_line(media: pb.MediaInfo, decoder: str = "") -> str:
    """The media's facts in one line, and what decodes it where that is not the CPU."""
    rate = media.average_frame_rate
    facts = [
        f"{media.width}x{media.height}",
        f"{printable(media.codec)} in {printable(media.container)}",
        f"{rate.numerator / rate.denominator:.6g} fps" if media.HasField("average_frame_rate") else "",
        duration(media.declared_duration_ns) if media.HasField("declared_duration_ns") else "length unknown",
        f"{media.bit_depth} bit" if media.bit_depth != 8 else "",
        f"rotated {media.rotation_degrees}°" if media.rotation_degrees else "",
        f"decoded by {printable(decoder).upper()}" if decoder not in ("", "cpu") else "",
    ]
    return " · ".join(filter(None, facts))


def ledger_line(ledger: pb.Ledger) -> str:
    """The account of the frames in one line."""
    facts = [
        f"{ledger.decoded_frames:,} of {ledger.expected_frames:,} expected frames decoded",
        f"{ledger.corrupt_frames:,} corrupt",
        f"{ledger.dropped_frames:,} dropped",
        f"{ledger.skipped_frames:,} of {ledger.source_frames:,} not needed" if ledger.skipped_frames else "",
        f"{ledger.reused_frames:,} near-duplicates reused" if ledger.reused_frames else "",
        f"{ledger.redecoded_frames:,} decoded again" if ledger.redecoded_frames else "",
    ]
    return ", ".join(filter(None, facts))


def segment_title(segment: pb.Segment) -> str:
    """Number, time range and frames of a segment."""
    interval = segment.interval
    return (
        f"#{segment.index}  {clock(interval.start_ns)} - {clock(interval.end_ns)}  "
        f"{duration(interval.end_ns - interval.start_ns)}, frames {interval.start_frame}..{interval.end_frame - 1}"
    )


def segment_rows(segment: pb.Segment) -> Iterator[tuple[str, str]]:
    """What the analyzers found, as (name, words); nothing for vectors and for what is absent."""
    for annotation in segment.annotations:
        words = _words(annotation)
        if words:
            yield printable(annotation.analyzer), words


def _words(annotation: pb.Annotation) -> str:
    match annotation.WhichOneof("value"):
        case "shot":
            return _shot(annotation.shot)
        case "labels":
            top = annotation.labels.labels[:TOP_LABELS]
            return ", ".join(f"{short(printable(label.label))} {label.score:.2f}" for label in top)
        case "objects":
            classes = Counter(printable(track.label) for track in annotation.objects.tracks)
            return ", ".join(f"{number} {label}" for label, number in classes.most_common())
        case "text":
            return "\n".join(_line(line) for line in annotation.text.lines)
        case "faces" if annotation.faces.faces:
            best = max(face.score for face in annotation.faces.faces)
            most = annotation.faces.most_at_once
            return f"{counted(len(annotation.faces.faces), 'face')} (best {best:.2f}), at most {most} at once"
        case "moderation":
            value = annotation.moderation
            where = clock(value.max_position.offset_ns)
            return f"{printable(value.label)} at most {value.max_score:.2f}, at {where}"
    return ""


def _shot(shot: pb.Shot) -> str:
    if not shot.starts_shot:
        return f"shot {shot.shot_index}, continued"
    return f"shot {shot.shot_index}, cut {shot.cut_score:.2f}"


def _line(line: pb.TextLines.Line) -> str:
    first, last = line.first_position.offset_ns, line.last_position.offset_ns
    return f"“{printable(line.text)}” {line.score:.2f}, {clock(first)} - {clock(last)}"


def summary_lines(finished: pb.Finished) -> list[str]:
    """The closing summary."""
    lines = [
        f"{counted(finished.segment_count, 'segment')} of {duration(finished.media_ns)} video "
        f"in {duration(finished.elapsed_ns)} (realtime factor {finished.realtime_factor:.2f})",
        ledger_line(finished.ledger),
    ]
    if finished.partial:
        where = f" at pts {finished.first_bad_pts}" if finished.HasField("first_bad_pts") else ""
        lines.append(f"PARTIAL: the media breaks{where} ({finished.fault or 'frames are missing'})")
    return lines
