"""WebVTT: one cue per segment, in words.

Cues tile the media as the segments do, in milliseconds rounded down; a segment shorter than that still lasts one.
Streams: one segment in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from orchestrator.core.results import Segment
from orchestrator.exports.subject import Subject, clock, items, one_line, shot_of, values


def write(subject: Subject, segments: Iterable[Segment]) -> Iterator[bytes]:
    """The header and the cues; a cue's identifier is the number of its segment."""
    yield b"WEBVTT\n\n"
    for segment in segments:
        start = subject.ms(segment.interval.start_pts)
        end = max(start + 1, subject.ms(segment.interval.end_pts))
        lines = "\n".join(_escaped(line) for line in _words(segment))
        yield f"{segment.index}\n{clock(start, '.')} --> {clock(end, '.')}\n{lines}\n\n".encode()


def _words(segment: Segment) -> Iterator[str]:
    """What is known of a segment, a line for each kind that found something."""
    shot = shot_of(segment)
    if shot is None:
        yield f"Segment {segment.index}"
    else:
        yield f"Shot {shot.shot_index}{'' if shot.starts_shot else ', continued'}"
    classes = Counter(item.label for item in items(segment, "objects"))
    lists = {
        "Labels": [f"{_short(item.label)} {item.score:.2f}" for item in items(segment, "labels")],
        "Objects": [f"{number} {label}" for label, number in sorted(classes.items(), key=lambda c: (-c[1], c[0]))],
        "Text": [item.text for item in items(segment, "text") if one_line(item.text)],
        "Faces": [str(len(value.faces)) for value in values(segment, "faces") if value.faces],
        "Moderation": [f"{value.label} {value.max_score:.2f}" for value in values(segment, "moderation")],
    }
    for name, words in lists.items():
        if words:
            yield f"{name}: {'; '.join(words)}"


def _short(label: str) -> str:
    """The first of the synonyms in a class's name."""
    return label.partition(",")[0]


def _escaped(line: str) -> str:
    """``line`` as cue text: no break and no markup, so no arrow either."""
    return one_line(line).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
