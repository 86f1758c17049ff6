"""Comma-separated values (RFC 4180, UTF-8): a header, then one row per segment.

Cells with several things in them hold JSON, so that no name or text can be mistaken for a separator, a line break or a
formula. Streams: one segment in memory.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import orjson

from orchestrator.core.results import Segment
from orchestrator.exports.subject import Subject, items, one_line, shot_of, values

COLUMNS = (
    "analysis_id", "segment_index", "final",
    "start_frame", "end_frame", "start_pts", "end_pts", "time_base",
    "start_ns", "end_ns", "start_seconds", "end_seconds",
    "shot_index", "starts_shot", "cut_score",
    "labels", "objects", "text", "faces", "most_faces_at_once",
    "moderation_label", "moderation_max_score", "moderation_mean_score",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@")  # what makes spreadsheets compute a cell (OWASP, "CSV Injection")


def write(subject: Subject, segments: Iterable[Segment]) -> Iterator[bytes]:
    """The header and the rows. An empty cell: no analyzer answered; ``[]``: one did, and found nothing."""
    yield _line(COLUMNS)
    for segment in segments:
        yield _line(_row(subject, segment))


def _line(cells: Iterable[object]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue().encode()


def _row(subject: Subject, segment: Segment) -> list[object]:
    interval, shot = segment.interval, shot_of(segment)
    start, end = subject.ns(interval.start_pts), subject.ns(interval.end_pts)
    base = subject.media.time_base
    faces = next(values(segment, "faces"), None)
    moderation = next(values(segment, "moderation"), None)
    return [
        *(_plain(subject.record.id), segment.index, _truth(segment.final)),
        *(interval.start_frame, interval.end_frame, interval.start_pts, interval.end_pts),
        f"{base.numerator}/{base.denominator}",
        *(start, end, _decimal(start), _decimal(end)),
        *((shot.shot_index, _truth(shot.starts_shot), shot.score) if shot else ("", "", "")),
        _answer(segment, "labels", [[item.label, item.score] for item in items(segment, "labels")]),
        _answer(segment, "objects", _classes(segment)),
        _answer(segment, "text", [item.text for item in items(segment, "text")]),
        *((len(faces.faces), faces.most_at_once) if faces else ("", "")),
        *((_plain(moderation.label), moderation.max_score, moderation.mean_score) if moderation else ("", "", "")),
    ]


def _classes(segment: Segment) -> list[tuple[str, int]]:
    counts = Counter(item.label for item in items(segment, "objects"))
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))


def _answer(segment: Segment, kind: str, found: Sequence[object]) -> str:
    return "" if next(values(segment, kind), None) is None else orjson.dumps(found).decode()


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _decimal(ns: int) -> str:
    return f"{ns // 1_000_000_000}.{ns % 1_000_000_000:09}"


def _plain(text: str) -> str:
    """``text`` as one line that no spreadsheet computes: an apostrophe goes before what would begin a formula."""
    text = one_line(text)
    return f"'{text}" if text.startswith(_FORMULA) else text
