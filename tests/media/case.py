"""A named media and the answer it must get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path

MEDIA_REASONS = frozenset(
    {
        "MEDIA_UNREADABLE",
        "MEDIA_TOO_LARGE",
        "NO_VIDEO_STREAM",
        "UNSUPPORTED_FORMAT",
        "UNSUPPORTED_CODEC",
        "ENCRYPTED",
        "DECODE_BUDGET",
    }
)
"""Every typed answer that a media alone can cause (a crash of the decoder is not among them)."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What else is known of a media that is analysed in full; ``None`` where nothing is promised.

    ``width`` and ``height`` are as displayed, after ``rotation`` (degrees clockwise). ``corner`` is where the
    white square of the coded top-left corner is then seen. ``seconds`` are the exact display times of the
    frames, counted from the first.
    """

    width: int | None = None
    height: int | None = None
    rotation: int | None = None
    corner: str | None = None
    bit_depth: int | None = None
    codec: str | None = None
    seconds: tuple[Fraction, ...] | None = None


@dataclass(frozen=True, slots=True)
class Expect:
    """The answers that are right.

    ``completes``: finishing with ``partial=False``, all ``frames`` decoded. ``partial``: finishing with
    ``partial=True`` and at least ``min_frames`` (and one) decoded. ``reasons``: failing with one of these.
    """

    completes: bool
    partial: bool
    reasons: frozenset[str]
    frames: int | None = None
    min_frames: int = 0
    facts: Facts = Facts()

    def __post_init__(self) -> None:
        if not (self.completes or self.partial or self.reasons):
            raise ValueError("an expectation allows at least one answer")
        if self.reasons - MEDIA_REASONS:
            raise ValueError(f"unknown reasons {sorted(self.reasons - MEDIA_REASONS)}")

    def mismatch(self, *, reason: str | None = None, partial: bool = False, frames: int = 0) -> str | None:
        """What is wrong with an answer, or ``None``. ``reason`` is that of the error, ``None`` for an
        analysis that finished with ``partial`` and ``frames`` decoded frames."""
        if reason is not None:
            return None if reason in self.reasons else f"failed with {reason}, allowed are {self}"
        if partial:
            if not self.partial:
                return f"finished partially, allowed are {self}"
            enough = frames >= max(1, self.min_frames)
            return None if enough else f"kept {frames} frames, wanted {self.min_frames}"
        if not self.completes:
            return f"finished in full, allowed are {self}"
        exact = self.frames in (None, frames)
        return None if exact else f"finished with {frames} frames, wanted {self.frames}"

    def __str__(self) -> str:
        answers = [f"full({self.frames})"] * self.completes + [f"partial(>={self.min_frames})"] * self.partial
        return " | ".join([*answers, *sorted(self.reasons)])


def ok(frames: int, facts: Facts | None = None) -> Expect:
    """A full result, nothing else."""
    return Expect(True, False, frozenset(), frames=frames, facts=facts or Facts())


def partial_or(*reasons: str, frames: int | None = None, min_frames: int = 0, may_complete: bool = False) -> Expect:
    """A partial result or one of ``reasons``; with ``may_complete`` a full one (of exactly ``frames``) is
    right too."""
    return Expect(may_complete, True, frozenset(reasons), frames=frames, min_frames=min_frames)


def error(*reasons: str) -> Expect:
    """One of ``reasons``, nothing else."""
    return Expect(False, False, frozenset(reasons))


def ok_or(frames: int, *reasons: str) -> Expect:
    """A full result or one of ``reasons``."""
    return Expect(True, False, frozenset(reasons), frames=frames)


def typed(frames: int | None = None) -> Expect:
    """Any typed answer: the point is that nothing crashes, hangs or grows. ``frames`` binds a full result."""
    return Expect(True, True, MEDIA_REASONS, frames=frames)


@dataclass(frozen=True)
class Case:
    """A named media. ``build(folder)`` writes it (and what it refers to) there and returns its path."""

    name: str
    build: Callable[[Path], Path]
    expectation: Callable[[], Expect] | Expect

    @cached_property
    def expect(self) -> Expect:
        """The right answers; some follow from where the bytes of the built media lie."""
        return self.expectation if isinstance(self.expectation, Expect) else self.expectation()


def from_bytes(name: str, filename: str, data: Callable[[], bytes], expectation: Callable[[], Expect] | Expect) -> Case:
    """A case that is one file."""

    def build(folder: Path) -> Path:
        path = folder / filename
        path.write_bytes(data())
        return path

    return Case(name, build, expectation)
