"""What a worker is asked to do: parsed and built in one place, so that both ends agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from orchestrator.adapters.decoders.wire import Message, encode
from orchestrator.core.frames import Fit, Tap, View
from orchestrator.core.media import DecodeLimits
from orchestrator.core.sampling import Sampling


@dataclass(frozen=True, slots=True)
class Resume:
    """Where an earlier worker on the same bytes stopped.

    Per tap: ``deliver`` is the first index to deliver, ``lent`` the last frame whose picture was delivered (-1: none), which later ones may
    repeat. ``known`` frames of the timeline need no telling again; ``counted`` frames are in ``counts`` (the order of
    ``sequencer.LEDGER``).
    """

    deliver: tuple[int, ...]
    lent: tuple[int, ...]
    known: int = 0
    counted: int = 0
    counts: tuple[int, ...] = (0,) * 8
    bad: int | None = None

    @property
    def begin(self) -> int:
        """The first frame that some tap needs."""
        return min(self.deliver)


@dataclass(frozen=True, slots=True)
class Job:
    """One media to decode. ``extents[t]`` are the byte offsets of tap ``t``'s slots in the arena; ``free[t]`` numbers
    those that may be written.
    """

    taps: tuple[Tap, ...]
    limits: DecodeLimits
    extents: tuple[tuple[int, ...], ...]
    free: tuple[tuple[int, ...], ...]
    resume: Resume


def encode_job(job: Job) -> bytes:
    """The job as a message."""
    resume = job.resume
    return encode(
        "job",
        taps=[encode_tap(tap) for tap in job.taps],
        limits=[job.limits.max_pixels, job.limits.max_decode_seconds, job.limits.max_stall_seconds],
        extents=job.extents,
        free=job.free,
        resume=[resume.deliver, resume.lent, resume.known, resume.counted, resume.counts, resume.bad],
    )


def decode_job(message: Message) -> Job:
    """The job out of its message (which comes from the service, so it is trusted)."""
    deliver, lent, known, counted, counts, bad = message.raw("resume")
    return Job(
        tuple(decode_tap(fields) for fields in message.raw("taps")),
        DecodeLimits(*message.raw("limits")),
        _tuples(message.raw("extents")),
        _tuples(message.raw("free")),
        Resume(tuple(deliver), tuple(lent), known, counted, tuple(counts), bad),
    )


def encode_tap(tap: Tap) -> list[object]:
    """A tap as JSON values."""
    fps = None if tap.sampling.fps is None else [tap.sampling.fps.numerator, tap.sampling.fps.denominator]
    view, keyframes = tap.view, tap.sampling.keyframes
    return [view.width, view.height, view.fit.value, fps, keyframes, tap.batch, tap.reuse, tap.host]


def decode_tap(fields: Sequence[object]) -> Tap:
    """A tap out of them."""
    width, height, fit, fps, keyframes, batch, reuse, host = fields
    assert isinstance(width, int)
    assert isinstance(height, int)
    assert isinstance(batch, int)
    rate = Fraction(*fps) if isinstance(fps, list) else None
    return Tap(View(width, height, Fit(fit)), Sampling(rate, bool(keyframes)), batch, bool(reuse), bool(host))


def _tuples(lists: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(each) for each in lists)
