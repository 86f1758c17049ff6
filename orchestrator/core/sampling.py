"""Which frames an analyzer looks at: pure, exact, and anchored at the first frame of the media.

With ``fps`` given, ticks lie at ``k / fps`` seconds after the first frame; the frame that answers a tick is the first
one shown at or
after it. One frame may answer several ticks (a slow source) and is then taken once. Nothing depends on where decoding
began, so an analysis that resumes
in the middle picks the same frames as one that ran through.

Of ``keyframes`` alone a decoder needs nothing else: most of the video is then never decoded. Where they lie is the encoder's choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Sampling:
    """Every frame (``fps is None``) or the frames nearest after the ticks of ``fps`` frames per second; of all frames, or of the
    ``keyframes`` alone.
    """

    fps: Fraction | None = None
    keyframes: bool = False

    def __post_init__(self) -> None:
        if self.fps is not None and self.fps <= 0:
            raise ValueError(f"fps must be positive, got {self.fps}")

    def ticks(self, elapsed: int, time_base: Fraction) -> int:
        """Number of ticks at or before ``elapsed`` pts units after the first frame (>= 1 when ``elapsed >= 0``)."""
        if self.fps is None:
            raise ValueError("a sampling of every frame has no ticks")
        return (
            elapsed * time_base.numerator * self.fps.numerator // (time_base.denominator * self.fps.denominator)
        ) + 1

    def takes(self, pts: int, previous_pts: int | None, start_pts: int, time_base: Fraction) -> bool:
        """Whether the frame at ``pts`` is taken, where ``previous_pts`` is the frame shown before it (``None`` for
        the first). With ``keyframes`` both are keyframes.
        """
        if self.fps is None or previous_pts is None:
            return True
        return self.ticks(pts - start_pts, time_base) > self.ticks(previous_pts - start_pts, time_base)


EVERY_FRAME = Sampling()
