"""What is known of a media: its facts, the limits put on it, and the ledger of its frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """Facts of the analysed video stream. ``width`` and ``height`` are as displayed, after rotation."""

    container: str
    codec: str
    width: int
    height: int
    rotation: int  # degrees clockwise that were applied: 0, 90, 180 or 270
    time_base: Fraction
    start_pts: int
    duration_ns: int | None  # as declared; None when unknown (a growing or live source)
    average_rate: Fraction | None
    bit_depth: int = 8


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Limits that hold for one media, whatever its headers claim."""

    max_pixels: int = 8192 * 8192 // 2  # of a decoded frame
    max_decode_seconds: float = 4 * 3600.0  # CPU-seconds of one worker
    max_stall_seconds: float = 30.0  # without a packet or a frame while bytes are available

    def __post_init__(self) -> None:
        if min(self.max_pixels, self.max_decode_seconds, self.max_stall_seconds) <= 0:
            raise ValueError(f"limits must be positive: {self}")


@dataclass(frozen=True, slots=True)
class Ledger:
    """Every frame accounted for: ``expected == decoded + corrupt + dropped``.

    ``source`` frames exist by the container's index (or by its packets, when there is no index); sampling wants
    ``expected`` of
    them decoded (counted once, however many taps share one); ``skipped`` were left out because no tap wanted them.
    ``reused`` of the decoded were near-duplicates; ``redecoded`` were decoded again, after a worker died or by the CPU after a GPU.
    """

    source: int = 0
    expected: int = 0
    decoded: int = 0
    corrupt: int = 0
    dropped: int = 0
    skipped: int = 0
    reused: int = 0
    redecoded: int = 0

    @property
    def complete(self) -> bool:
        """Whether every expected frame came out whole."""
        return self.expected == self.decoded


@dataclass(frozen=True, slots=True)
class LedgerMark:
    """The ledger of the frames below ``counted``, so that another decoding of the same media can go on counting there."""

    counted: int = 0
    ledger: Ledger = field(default_factory=Ledger)
    first_bad_pts: int | None = None
