"""SubRip subtitles of the on-screen text: one cue per line of text.

A line is taken to stay from the first sampled frame that shows it until the sample after the last one (the mean distance
of the segment's samples later), but not past its segment. Milliseconds are rounded down; a shorter cue lasts one.

Streams: one segment in memory. A media of 100 hours or more raises ``InvalidRequest`` there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from orchestrator.core.results import Annotation, Segment, TextLine
from orchestrator.core.timeline import Interval
from orchestrator.errors import InvalidRequest
from orchestrator.exports.subject import Subject, clock, kind_of, one_line

LIMIT_MS = 100 * 3600 * 1000  # hours have two digits
_MARKUP = re.compile(r"[<{]|--(?=>)|:(?=\d{1,2}:\d{1,2}[.,]\d)")
_JOINER = "\N{WORD JOINER}"


def write(subject: Subject, segments: Iterable[Segment]) -> Iterator[bytes]:
    """The cues by start, numbered from 1; lines without a visible character have none."""
    number = 0
    for segment in segments:
        for start, end, text in _cues(subject, segment):
            if end >= LIMIT_MS:
                raise InvalidRequest("SubRip holds times below 100 hours; export webvtt or jsonl")
            number += 1
            yield f"{number}\n{clock(start, ',')} --> {clock(end, ',')}\n{text}\n\n".encode()


def _cues(subject: Subject, segment: Segment) -> list[tuple[int, int, str]]:
    """(start, end) in milliseconds, and the text."""
    cues = []
    for annotation in segment.annotations:
        if kind_of(annotation) != "text":
            continue
        for line in annotation.value:  # type: ignore[union-attr]
            assert isinstance(line, TextLine)
            if text := _tame(line.text):
                start = subject.ms(line.first.pts)
                end = subject.ms(_end_pts(line, annotation, segment.interval))
                cues.append((start, max(start + 1, end), text))
    return sorted(cues, key=lambda cue: cue[0])  # stable: lines that begin together keep their order


def _end_pts(line: TextLine, annotation: Annotation, interval: Interval) -> int:
    distance = (interval.end_pts - interval.start_pts) // max(1, annotation.frames_analyzed)
    return min(interval.end_pts, line.last.pts + distance)


def _tame(text: str) -> str:
    """``text`` as one line without markup. SubRip has no escapes: an invisible word joiner (U+2060) goes after what a
    player would take for the start of a tag, and into arrows and time stamps."""
    return _MARKUP.sub(lambda found: found[0] + _JOINER, one_line(text))
