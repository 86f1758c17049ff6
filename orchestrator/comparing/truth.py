"""Labelled sets: a folder of clips, and beside each ``CLIP`` a file ``CLIP.truth.json`` with what is known of it (``ops/comparing.md``).

Every key may be left out: then nothing is promised, and nothing judged.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from orchestrator.comparing.answers import Span
from orchestrator.core.results import Box
from orchestrator.errors import InvalidRequest

SUFFIX = ".truth.json"


def _holds_frames(span: Span) -> Span:
    if not 0 <= span.start < span.end:
        raise ValueError(f"a span holds at least one frame, got [{span.start}, {span.end})")
    return span


def _has_area(box: Box) -> Box:
    if not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
        raise ValueError(f"a box is x0, y0, x1, y1 within 0..1, got {box}")
    return box


Frames = Annotated[Span, AfterValidator(_holds_frames)]
Place = Annotated[Box, AfterValidator(_has_area)]


class _Known(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrueLine(_Known):
    """A line of text, and the frames that show it."""

    text: str = Field(min_length=1)
    span: Frames


class TrueBoxes(_Known):
    """All boxes of a class in each frame of ``span``."""

    span: Frames
    boxes: tuple[Place, ...]


class TrueClass(_Known):
    """Where a class is seen."""

    present: tuple[Frames, ...] = ()
    absent: tuple[Frames, ...] = ()
    boxes: tuple[TrueBoxes, ...] = ()


class TrueFaces(_Known):
    """How many faces every frame of ``span`` shows."""

    span: Frames
    count: int = Field(ge=0)


class TrueLabels(_Known):
    """Classes that fit every picture of ``span``: any one of them is right."""

    span: Frames
    any: tuple[str, ...] = Field(min_length=1)


class TrueSafety(_Known):
    """Whether ``span`` is unsafe."""

    span: Frames
    unsafe: bool


class Truth(_Known):
    """What is known of a clip. ``cuts`` and ``dissolves`` are all there are (first frames of shots; frames that mix two), ``frames`` is how
    many the clip has."""

    frames: int | None = Field(default=None, gt=0)
    cuts: tuple[Annotated[int, Field(gt=0)], ...] | None = None
    dissolves: tuple[Frames, ...] = ()
    text: tuple[TrueLine, ...] = ()
    objects: dict[str, TrueClass] = {}
    faces: tuple[TrueFaces, ...] = ()
    labels: tuple[TrueLabels, ...] = ()
    moderation: tuple[TrueSafety, ...] = ()

    def write_beside(self, clip: Path) -> None:
        """Write it where ``read_folder`` finds it."""
        path = clip.with_name(clip.name + SUFFIX)
        path.write_text(self.model_dump_json(exclude_defaults=True, indent=1) + "\n", encoding="utf-8")


def read_folder(folder: Path) -> dict[Path, Truth]:
    """The clips of a labelled set, by name. Raises ``InvalidRequest`` with the file and the rule that it breaks."""
    found: dict[Path, Truth] = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        clip = path.with_name(path.name.removesuffix(SUFFIX))
        if not clip.is_file():
            raise InvalidRequest(f"{path.name} stands beside no clip {clip.name}")
        try:
            found[clip] = Truth.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InvalidRequest(f"{path.name}: {where + ': ' if where else ''}{first['msg']}") from error
    if not found:
        raise InvalidRequest(f"{folder.name} holds no clip with a {SUFFIX} beside it")
    return found
