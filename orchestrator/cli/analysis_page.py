"""One self-contained HTML page of an analysis: no script, no request to anywhere.

Every text is escaped by the template.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from orchestrator import __version__
from orchestrator.api import messages as pb
from orchestrator.cli import describe
from orchestrator.cli.analysis_lanes import lanes, percent, shade
from orchestrator.cli.page import ENVIRONMENT
from orchestrator.core.boxes import clamped

NEAR_NS = 300_000_000  # a box drawn over a thumbnail was seen at most so far from it
TOP_LABELS = 6


@dataclass(frozen=True, slots=True)
class Mark:
    """A box over a thumbnail, in percent of its size."""

    x: float
    y: float
    width: float
    height: float
    caption: str
    colour: str
    kind: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A score with its name."""

    name: str
    score: float


@dataclass
class Card:
    """One segment."""

    segment: pb.Segment
    thumbnail: str = ""
    shot: str = ""
    marks: list[Mark] = field(default_factory=list)
    labels: list[Bar] = field(default_factory=list)
    objects: list[tuple[str, int, str]] = field(default_factory=list)
    lines: list[tuple[str, float, str]] = field(default_factory=list)
    faces: str = ""
    moderation: tuple[str, float, str] | None = None


def render(responses: Sequence[pb.AnalyzeResponse], title: str) -> str:
    """The page of the analysis that sent ``responses``, of the media called ``title``."""
    started = next((r.started for r in responses if r.HasField("started")), pb.Started())
    finished = next((r.finished for r in responses if r.HasField("finished")), None)
    segments = [r.segment for r in responses if r.HasField("segment")]
    end_ns = max((segment.interval.end_ns for segment in segments), default=0)
    times = [response.create_time.ToDatetime() for response in responses if response.HasField("create_time")]
    return ENVIRONMENT.get_template("analysis.html.j2").render(
        title=describe.printable(title),
        analysis_id=responses[0].analysis_id if responses else "",
        made=f"{times[-1]:%Y-%m-%d %H:%M} UTC" if times else "",
        version=__version__,
        media=describe.media_line(started.media, started.decoder),
        profile=started.profile,
        finished=finished,
        facts=_facts(finished, len(segments), end_ns),
        summary=describe.summary_lines(finished) if finished else [],
        ledger=_ledger(finished.ledger) if finished else [],
        lanes=lanes(segments, end_ns),
        ticks=_ticks(end_ns),
        cards=[_card(segment) for segment in segments],
        models=_models(segments),
        clock=describe.clock,
        duration=describe.duration,
        short=describe.short,
        aspect=_aspect(started.media, segments),
    )


def _facts(finished: pb.Finished | None, segments: int, end_ns: int) -> list[tuple[str, str]]:
    facts = [("segments", f"{segments:,}"), ("video", describe.duration(end_ns))]
    if finished:
        facts += [
            ("processing", describe.duration(finished.elapsed_ns)),
            ("realtime factor", f"{finished.realtime_factor:.2f}"),
            ("frames decoded", f"{finished.ledger.decoded_frames:,}"),
        ]
    return facts


def _ledger(ledger: pb.Ledger) -> list[tuple[str, int]]:
    return [(fact.name.removesuffix("_frames"), getattr(ledger, fact.name)) for fact in ledger.DESCRIPTOR.fields]


def _aspect(media: pb.MediaInfo, segments: Iterable[pb.Segment]) -> str:
    """Width over height of the pictures, for CSS."""
    for segment in segments:
        if segment.thumbnail.width and segment.thumbnail.height:
            return f"{segment.thumbnail.width} / {segment.thumbnail.height}"
    return f"{media.width} / {media.height}" if media.width and media.height else "16 / 9"


def _ticks(end_ns: int) -> list[tuple[float, str]]:
    """Places and names of 4 to 10 round times along the timeline."""
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
    step = next((step for step in steps if end_ns <= 10 * step * 1_000_000_000), 86400) * 1_000_000_000
    return [(percent(at, end_ns), describe.clock(at).removesuffix(".000")) for at in range(0, end_ns, step)]


def _card(segment: pb.Segment) -> Card:
    card = Card(segment)
    picture_ns: int | None = None
    if segment.HasField("thumbnail"):
        card.thumbnail = "data:image/jpeg;base64," + base64.b64encode(segment.thumbnail.jpeg).decode()
        picture_ns = segment.thumbnail.position.offset_ns
    for annotation in segment.annotations:
        match annotation.WhichOneof("value"):
            case "shot":
                shot = annotation.shot
                how = f"cut {shot.cut_score:.2f}" if shot.starts_shot else "continued"
                card.shot = f"shot {shot.shot_index} · {how}"
            case "labels":
                card.labels += [Bar(label.label, label.score) for label in annotation.labels.labels[:TOP_LABELS]]
            case "objects":
                _objects(card, annotation.objects, picture_ns)
            case "text":
                _text(card, annotation.text, picture_ns)
            case "faces" if annotation.faces.faces:
                _faces(card, annotation.faces, picture_ns)
            case "moderation":
                value = annotation.moderation
                card.moderation = (value.label, value.max_score, describe.clock(value.max_position.offset_ns))
    return card


def _objects(card: Card, objects: pb.ObjectTracks, picture_ns: int | None) -> None:
    counts: dict[str, int] = {}
    for track in objects.tracks:
        counts[track.label] = counts.get(track.label, 0) + 1
        if picture_ns is None or not track.points:
            continue
        point = min(track.points, key=lambda point: abs(point.position.offset_ns - picture_ns))
        if abs(point.position.offset_ns - picture_ns) <= NEAR_NS:
            caption = f"{track.label} {track.track_id}"
            card.marks.append(_mark(point.box, caption, shade(track.label), "object"))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    card.objects = [(label, number, shade(label)) for label, number in ordered]


def _text(card: Card, text: pb.TextLines, picture_ns: int | None) -> None:
    for line in text.lines:
        first, last = line.first_position.offset_ns, line.last_position.offset_ns
        span = describe.clock(first) if first == last else f"{describe.clock(first)} - {describe.clock(last)}"
        card.lines.append((line.text, line.score, span))
        if picture_ns is not None and first - NEAR_NS <= picture_ns <= last + NEAR_NS:
            card.marks.append(_mark(line.box, "", "#f5b301", "text"))


def _faces(card: Card, faces: pb.Faces, picture_ns: int | None) -> None:
    card.faces = f"{describe.counted(len(faces.faces), 'face')}, at most {faces.most_at_once} at once"
    for face in faces.faces:
        if picture_ns is not None and abs(face.position.offset_ns - picture_ns) <= NEAR_NS:
            card.marks.append(_mark(face.box, f"face {face.score:.2f}", "#ffffff", "face"))


def _mark(box: pb.Box, caption: str, colour: str, kind: str) -> Mark:
    left, top, right, bottom = clamped((box.left, box.top, box.right, box.bottom))
    return Mark(100 * left, 100 * top, 100 * (right - left), 100 * (bottom - top), caption, colour, kind)


def _models(segments: Iterable[pb.Segment]) -> list[tuple[str, str, str, str]]:
    """Name, version, digest and the analyzers of every model that had a part, by name."""
    users: dict[tuple[str, str, str], set[str]] = {}
    for segment in segments:
        for annotation in segment.annotations:
            for model in annotation.models:
                users.setdefault((model.name, model.version, model.digest), set()).add(annotation.analyzer)
    return [(*model, ", ".join(sorted(analyzers))) for model, analyzers in sorted(users.items())]
