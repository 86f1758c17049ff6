"""Media that were sound once: truncated, bit-flipped, with tables that lie."""

from __future__ import annotations

import struct
from functools import partial
from typing import Literal

import numpy as np

from tests.media import isobmff, synth
from tests.media.case import Case, Expect, error, from_bytes, ok_or, partial_or, typed
from tests.media.synth import FRAMES

Container = Literal["mp4", "fragments", "matroska", "mpegts"]
SUFFIX: dict[Container, str] = {"mp4": "mp4", "fragments": "mp4", "matroska": "mkv", "mpegts": "ts"}
CUTS = 20
FLIPS = 10
FLIP_SHARE = 2e-4
"""Flipped bits per bit: a few in each coded picture."""
UNREADABLE = "MEDIA_UNREADABLE"
UNNOTICED = 5
"""So many frames may be missing at the end of a Matroska file, whose duration is the only sign, without a
word."""


def cases() -> list[Case]:
    """Every damaged case."""
    lossy = partial_or(UNREADABLE, frames=FRAMES, may_complete=True)
    # With such a clock a frame lasts minutes, and the edit list (two seconds) shows only the first: a whole answer.
    edited = partial_or(UNREADABLE, may_complete=True)
    return [
        *(_truncated(container, cut) for container in SUFFIX for cut in range(CUTS)),
        *(_without_moov(tenths) for tenths in (1, 5, 9)),
        *(_flipped("pictures", seed) for seed in range(FLIPS)),
        *(_flipped("anywhere", seed) for seed in range(FLIPS)),
        from_bytes("zero_length_mdat", "nodata.mp4", _without_mdat, error(UNREADABLE)),
        from_bytes("no_samples", "init.mp4", _init_segment, error(UNREADABLE)),
        from_bytes("media_timescale_0", "t.mp4", partial(_timescale, "moov/trak/mdia/mdhd", 0), edited),
        from_bytes("movie_timescale_0", "t.mp4", partial(_timescale, "moov/mvhd", 0), lossy),
        from_bytes("media_timescale_max", "t.mp4", partial(_timescale, "moov/trak/mdia/mdhd", 0xFFFFFFFF), edited),
        from_bytes("stts_delta_0", "t.mp4", partial(_table, "stts", 0, FRAMES, 0), lossy),
        from_bytes("stts_delta_negative", "t.mp4", partial(_table, "stts", 0, FRAMES, -512), lossy),
        from_bytes("stts_delta_huge", "t.mp4", partial(_table, "stts", 0, FRAMES, 0x7FFFFFFF), edited),
        from_bytes("stts_too_short", "t.mp4", partial(_table, "stts", 0, FRAMES // 2, 512), lossy),
        from_bytes("pts_duplicate", "t.mp4", _duplicate_pts, lossy),
        from_bytes("pts_backwards", "t.mp4", partial(_table, "ctts", 5, 1, 512 * 40), lossy),
        from_bytes("chunk_offset_beyond_the_end", "t.mp4", partial(_table, "stco", 0, 0x7FFFFFF0), error(UNREADABLE)),
        from_bytes("chunk_offset_0", "t.mp4", partial(_table, "stco", 0, 0), lossy),
        from_bytes(
            "declared_65535",
            "big.mp4",
            partial(_declared, 65_535),
            ok_or(FRAMES, "MEDIA_TOO_LARGE", UNREADABLE),
        ),
        from_bytes("declared_0", "zero.mp4", partial(_declared, 0), ok_or(FRAMES, UNREADABLE)),
    ]


def _source(container: Container) -> bytes:
    if container == "fragments":
        return synth.plain(moov="fragments")
    return synth.plain(container)


def _truncated(container: Container, cut: int) -> Case:
    """The first ``(2 * cut + 1) / 40`` of the file."""

    def at() -> int:
        return len(_source(container)) * (2 * cut + 1) // (2 * CUTS)

    return from_bytes(
        f"truncated_{container}_{cut:02}",
        f"cut.{SUFFIX[container]}",
        lambda: _source(container)[: at()],
        lambda: truncation(container, at()),
    )


def truncation(container: Container, at: int) -> Expect:
    """What the first ``at`` bytes can give.

    Certain: without the whole index nothing can be read; once a whole keyframe is there the answer is
    partial, with every whole packet's frame. Between the two a decoder may conceal the rest of a picture, or
    not. MPEG-TS declares neither length nor duration, so a cut there may pass as a shorter video; a packet's
    end is known only to a few 188-byte packets.
    """
    data = _source(container)
    whole = sum(end <= at for end in synth.packet_ends(data))
    if container in ("mp4", "fragments") and at < isobmff.find(data, "moov").end:
        return error(UNREADABLE)
    if container == "mpegts":
        reasons = (UNREADABLE,) if whole < 2 else ()
        return Expect(True, True, frozenset(reasons), min_frames=max(0, whole - 2))
    if whole == 0:
        return partial_or(UNREADABLE)
    if container == "matroska" and FRAMES - whole <= UNNOTICED:
        return Expect(True, True, frozenset(), min_frames=whole)
    return partial_or(frames=FRAMES, min_frames=whole)


def _without_moov(tenths: int) -> Case:
    """A cut in front of a ``moov`` at the end."""

    def data() -> bytes:
        whole = synth.plain(moov="last")
        return whole[: isobmff.find(whole, "moov").start * tenths // 10]

    return from_bytes(f"truncated_tail_moov_{tenths}", "cut.mp4", data, error(UNREADABLE))


def _flipped(where: Literal["pictures", "anywhere"], seed: int) -> Case:
    """Random bits are turned over, in the coded pictures only or in headers as well."""

    def data() -> bytes:
        whole = synth.plain()
        start = isobmff.find(whole, "mdat").body if where == "pictures" else 0
        bits = np.unpackbits(np.frombuffer(whole, np.uint8))
        random = np.random.default_rng(seed)
        chosen = start * 8 + random.choice(len(bits) - start * 8, max(1, int(FLIP_SHARE * len(bits))), replace=False)
        bits[chosen] ^= 1
        return np.packbits(bits).tobytes()

    expect = partial_or(UNREADABLE, frames=FRAMES, may_complete=True) if where == "pictures" else typed()
    return from_bytes(f"bit_flipped_{where}_{seed:02}", "flipped.mp4", data, expect)


def _without_mdat() -> bytes:
    data = synth.plain()
    mdat = isobmff.find(data, "mdat")
    return data[: mdat.start] + isobmff.make_box(b"mdat")


def _init_segment() -> bytes:
    data = synth.plain(moov="fragments")
    return data[: isobmff.find(data, "moof").start]


def _timescale(path: str, timescale: int) -> bytes:
    return isobmff.set_timescale(synth.plain(), path, timescale)


def _table(table: str, row: int, *values: int) -> bytes:
    return isobmff.set_table_entry(synth.plain(), table, row, *values)


def _duplicate_pts() -> bytes:
    """Two frames are shown at the same time: the second decoding step gets the composition offset that the
    first frame's pts needs."""
    data = synth.plain()
    ctts = isobmff.find(data, f"{isobmff.STBL}/ctts")
    first = struct.unpack_from(">ii", data, ctts.body + 8)
    second = struct.unpack_from(">ii", data, ctts.body + 16)
    if first[0] != 1 or second[0] != 1:
        raise ValueError(f"expected single composition offsets first, got {first} and {second}")
    return isobmff.set_table_entry(data, "ctts", 1, 1, first[1] - 512)


def _declared(side: int) -> bytes:
    return isobmff.set_declared_size(synth.plain(), side, side)
