"""What an analysis found, in a few lines: the form of the golden results.

To renew them after a change that is meant to change results, look at the difference, and commit it with that change::

    .venv/bin/python -m tests.media.composite .demo/composite.mp4
    .venv/bin/reelsift analyze .demo/composite.mp4 --json \
        | .venv/bin/python -m tests.acceptance.summary > tests/acceptance/golden/composite.json
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import Any

from orchestrator.api import messages as pb
from tests.acceptance.answers import Answer, annotation, parse

Summary = dict[str, Any]


def summarise(answer: Answer) -> Summary:
    """Discrete findings as they are; scores (every float) to four digits."""
    ledger = answer.finished.ledger
    return {
        "frames": {"expected": ledger.expected_frames, "decoded": ledger.decoded_frames},
        "segments": [_segment(segment) for segment in answer.segments],
    }


def _segment(segment: pb.Segment) -> Summary:
    tracks = annotation(segment, "objects").objects.tracks
    faces = annotation(segment, "faces").faces
    moderation = annotation(segment, "moderation").moderation
    return {
        "frames": [segment.interval.start_frame, segment.interval.end_frame],
        "pts": [segment.interval.start_pts, segment.interval.end_pts],
        "cut": _score(annotation(segment, "shots").shot.cut_score),
        "thumbnail": segment.thumbnail.position.frame,
        "analyzed": {each.analyzer: each.frames_analyzed for each in segment.annotations},
        "labels": {each.label: _score(each.score) for each in annotation(segment, "labels").labels.labels},
        "objects": dict(sorted(Counter(track.label for track in tracks).items())),
        "tracks": [[track.label, len(track.points), _score(track.score)] for track in tracks],
        "text": [
            [line.text, line.reading_count, _score(line.score)] for line in annotation(segment, "text").text.lines
        ],
        "faces": [[face.sighting_count, _score(face.score)] for face in faces.faces],
        "moderation": [moderation.label, moderation.max_position.frame, _score(moderation.max_score)],
    }


def _score(value: float) -> float:
    return round(float(value), 4)


def differences(found: Any, golden: Any, tolerance: float, where: str = "") -> list[str]:
    """Where two summaries differ: floats by more than ``tolerance``, all else at all."""
    if isinstance(golden, float) and isinstance(found, float):
        return [] if abs(found - golden) <= tolerance else [f"{where}: {found} instead of {golden}"]
    if isinstance(golden, dict) and isinstance(found, dict) and found.keys() == golden.keys():
        pairs = [(f"{where}.{key}", found[key], golden[key]) for key in golden]
    elif isinstance(golden, list) and isinstance(found, list) and len(found) == len(golden):
        pairs = [(f"{where}[{at}]", *both) for at, both in enumerate(zip(found, golden, strict=True))]
    else:
        return [] if found == golden else [f"{where}: {found!r} instead of {golden!r}"]
    return [line for name, mine, theirs in pairs for line in differences(mine, theirs, tolerance, name)]


if __name__ == "__main__":
    json.dump(summarise(parse(sys.stdin)), sys.stdout, indent=1, ensure_ascii=False)
    sys.stdout.write("\n")
