"""Just enough of ISO base media files (ISO/IEC 14496-12) to damage them on purpose.

Positions are byte offsets into the whole file. ``data`` stands for the file's bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

SAMPLE_ENTRY_HEADER = 8  # of stsd: version, flags, entry count
OWN_FIELDS = {b"stsd": SAMPLE_ENTRY_HEADER, b"avc1": 78}  # bytes of a box before the boxes inside it
VISUAL_SIZE_AT = 24  # width, height (u16 each) within a visual sample entry, after its box header
TKHD_MATRIX_AT = {0: 40, 1: 52}  # by version, after the box header
TIMESCALE_AT = {0: 12, 1: 20}  # of mdhd and mvhd


@dataclass(frozen=True, slots=True)
class Box:
    """A box at ``[start, end)`` whose payload begins at ``body``."""

    kind: bytes
    start: int
    body: int
    end: int


def make_box(kind: bytes, *payload: bytes) -> bytes:
    """A box with a 32-bit size."""
    body = b"".join(payload)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes that lie side by side in ``[start, end)``."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if size == 1:
            size, body = struct.unpack_from(">Q", data, body)[0], start + 16
        elif size == 0:
            size = end - start
        yield Box(kind, start, body, start + size)
        start += max(size, 8)


def chain(data: bytes, path: str) -> list[Box]:
    """The boxes along ``path``, outermost first; below ``stsd`` it goes on through the sample entry:
    ``.../stsd/avc1/avcC``. Raises ``KeyError``."""
    found: list[Box] = []
    start, end = 0, len(data)
    for kind in path.encode().split(b"/"):
        box = next((each for each in boxes(data, start, end) if each.kind == kind), None)
        if box is None:
            raise KeyError(path)
        found.append(box)
        start, end = box.body + OWN_FIELDS.get(box.kind, 0), box.end
    return found


def find(data: bytes, path: str) -> Box:
    """The first box at ``path``, like ``moov/trak/mdia/mdhd``. Raises ``KeyError``."""
    return chain(data, path)[-1]


STBL = "moov/trak/mdia/minf/stbl"


def patch(data: bytes, at: int, value: bytes) -> bytes:
    """``data`` with the bytes at ``at`` replaced."""
    if not 0 <= at <= len(data) - len(value):
        raise ValueError(f"cannot write {len(value)} bytes at {at} of {len(data)}")
    return data[:at] + value + data[at + len(value) :]


def sample_entry(data: bytes) -> Box:
    """The first entry of the video's ``stsd``."""
    stsd = find(data, f"{STBL}/stsd")
    return next(boxes(data, stsd.body + SAMPLE_ENTRY_HEADER, stsd.end))


def set_declared_size(data: bytes, width: int, height: int) -> bytes:
    """Change the sizes that ``tkhd`` and the sample entry declare; the coded pictures stay as they are."""
    tkhd = find(data, "moov/trak/tkhd")
    data = patch(data, tkhd.end - 8, struct.pack(">II", width << 16, height << 16))
    return patch(data, sample_entry(data).body + VISUAL_SIZE_AT, struct.pack(">HH", width, height))


def set_rotation(data: bytes, degrees: int) -> bytes:
    """Ask players to show the picture turned clockwise by 0, 90, 180 or 270 degrees."""
    one = 1 << 16
    turns = {0: (one, 0, 0, one), 90: (0, one, -one, 0), 180: (-one, 0, 0, -one), 270: (0, -one, one, 0)}
    a, b, c, d = turns[degrees]
    tkhd = find(data, "moov/trak/tkhd")
    matrix = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    return patch(data, tkhd.body + TKHD_MATRIX_AT[data[tkhd.body]], matrix)


def set_timescale(data: bytes, path: str, timescale: int) -> bytes:
    """Change the timescale of the ``mdhd`` or ``mvhd`` at ``path``."""
    box = find(data, path)
    return patch(data, box.body + TIMESCALE_AT[data[box.body]], struct.pack(">I", timescale))


def set_table_entry(data: bytes, table: str, row: int, *values: int) -> bytes:
    """Overwrite one row (32-bit signed columns) of a table of ``stbl``: ``stts``, ``ctts``, ``stco``, ..."""
    box = find(data, f"{STBL}/{table}")
    entry = struct.pack(f">{len(values)}i", *values)
    return patch(data, box.body + 8 + row * len(entry), entry)


def set_entry_count(data: bytes, table: str, count: int) -> bytes:
    """Overwrite the entry count of a table of ``stbl``."""
    at = 8 if table == "stsz" else 4
    return patch(data, find(data, f"{STBL}/{table}").body + at, struct.pack(">I", count))


def append_to_moov(data: bytes, box: bytes) -> bytes:
    """Add a box at the end of ``moov``, which must be the last box of the file (so that no offset moves)."""
    moov = find(data, "moov")
    if moov.end != len(data):
        raise ValueError("moov must be the last box")
    return patch(data, moov.start, struct.pack(">I", moov.end - moov.start + len(box))) + box


def shift_chunks(data: bytes, distance: int) -> bytes:
    """Move every chunk offset of the video's ``stco``."""
    stco = find(data, f"{STBL}/stco")
    (count,) = struct.unpack_from(">I", data, stco.body + 4)
    offsets = struct.unpack_from(f">{count}I", data, stco.body + 8)
    return patch(data, stco.body + 8, struct.pack(f">{count}I", *(offset + distance for offset in offsets)))


def replace_box(data: bytes, path: str, body: bytes) -> bytes:
    """Give the box at ``path``, below a ``moov`` that is the last box of the file, another payload; the sizes
    around it are mended."""
    around = chain(data, path)
    if around[0].end != len(data):
        raise ValueError("moov must be the last box")
    target = around[-1]
    growth = len(body) - (target.end - target.body)
    for box in around:
        data = patch(data, box.start, struct.pack(">I", box.end - box.start + growth))
    return data[: target.body] + body + data[target.end :]
