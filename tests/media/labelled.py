"""The composites as a labelled set, in the format of ``orchestrator.comparing.truth``::

    python -m tests.media.labelled FOLDER

Beside what the recipes know, a few things were judged by eye once: where the parked bicycle is, what such a picture may be called, and that
nothing is unsafe.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from orchestrator.comparing import truth as labelled
from orchestrator.comparing.answers import Span
from orchestrator.core.results import Box
from tests.media import clips, composite
from tests.media import truth as known

BICYCLE: Box = (0.41, 0.0, 0.95, 0.73)
"""The parked bicycle."""
CYCLES = ("mountain bike", "bicycle-built-for-two")
MOTORS = ("moped", "motor scooter")
"""One stands beside the cyclist."""


def truth_of(film: known.Truth) -> labelled.Truth:
    """What is known of a composite. The parked bicycle is the last of ``bicycles``, a cyclist any before."""
    parked = _span(film.bicycles[-1])
    return labelled.Truth(
        frames=film.frames,
        cuts=film.cuts,
        dissolves=_spans(film.dissolves),
        text=tuple(labelled.TrueLine(text=each.text, span=_span(each.span)) for each in film.captions),
        objects={
            "person": labelled.TrueClass(
                present=_spans(film.persons),
                absent=_spans(film.no_faces[:1]),
            ),
            "car": labelled.TrueClass(present=_spans(film.cars), absent=(parked,)),
            "bicycle": labelled.TrueClass(
                present=_spans(film.bicycles),
                absent=_spans(film.faces),
                boxes=(labelled.TrueBoxes(span=parked, boxes=(BICYCLE,)),),
            ),
        },
        faces=(
            *(labelled.TrueFaces(span=span, count=1) for span in _spans(film.faces)),
            *(labelled.TrueFaces(span=span, count=0) for span in _spans(film.no_faces)),
        ),
        labels=(
            *(labelled.TrueLabels(span=span, any=(*CYCLES, *MOTORS)) for span in _spans(film.bicycles[:-1])),
            labelled.TrueLabels(span=parked, any=CYCLES),
        ),
        moderation=(labelled.TrueSafety(span=Span(0, film.frames), unsafe=False),),
    )


def write_labelled_set(folder: Path) -> None:
    """Write both composites and their truth into ``folder``. Raises ``ClipUnavailable``."""
    for name, build in (("composite.mp4", composite.build_composite), ("dissolves.mp4", composite.build_dissolves)):
        truth_of(build(folder / name)).write_beside(folder / name)


def _span(span: known.Span) -> Span:
    return Span(span.start, span.end)


def _spans(spans: Iterable[known.Span]) -> tuple[Span, ...]:
    return tuple(map(_span, spans))


def main(arguments: list[str] | None = None) -> int:
    """Write from the command line."""
    parser = argparse.ArgumentParser(description="Write the composites as a labelled set.")
    parser.add_argument("folder", type=Path)
    try:
        write_labelled_set(parser.parse_args(arguments).folder)
    except clips.ClipUnavailable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
