"""Rewriting an H.264 sequence parameter set (ITU-T H.264, 7.3.2.1.1), baseline profile only."""

from __future__ import annotations

BASELINE = 66
MACROBLOCK = 16


class _Bits:
    """Reads a bit string ``0``/``1`` from the left."""

    def __init__(self, data: bytes) -> None:
        self.bits = "".join(f"{byte:08b}" for byte in data)
        self.at = 0

    def skip(self, count: int) -> None:
        self.at += count

    def ue(self) -> int:
        """An unsigned Exp-Golomb number (9.1)."""
        zeros = self.bits.index("1", self.at) - self.at
        value = int(self.bits[self.at + zeros : self.at + 2 * zeros + 1], 2) - 1
        self.at += 2 * zeros + 1
        return value


def with_size(sps: bytes, width: int, height: int) -> bytes:
    """The parameter set (NAL header included) of a stream of ``width x height``, multiples of 16; everything
    else is kept.

    Raises ``ValueError`` for another profile than baseline.
    """
    if sps[1] != BASELINE:
        raise ValueError(f"only baseline parameter sets, got profile {sps[1]}")
    reader = _Bits(sps[:1] + _unescape(sps[1:]))
    reader.skip(8 * 4)  # NAL header, profile, constraints, level
    reader.ue()  # seq_parameter_set_id
    reader.ue()  # log2_max_frame_num_minus4
    order = reader.ue()  # pic_order_cnt_type
    if order == 0:
        reader.ue()  # log2_max_pic_order_cnt_lsb_minus4
    elif order == 1:
        raise ValueError("pic_order_cnt_type 1 is not read")
    reader.ue()  # max_num_ref_frames
    reader.skip(1)  # gaps_in_frame_num_value_allowed_flag
    start = reader.at
    reader.ue()  # pic_width_in_mbs_minus1
    reader.ue()  # pic_height_in_map_units_minus1
    new = _ue(width // MACROBLOCK - 1) + _ue(height // MACROBLOCK - 1)
    bits = reader.bits[:start] + new + reader.bits[reader.at :]
    bits = bits[: bits.rindex("1") + 1]  # ends with the stop bit ...
    bits += "0" * (-len(bits) % 8)  # ... and its alignment
    packed = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))
    return packed[:1] + _escape(packed[1:])


def _ue(value: int) -> str:
    code = f"{value + 1:b}"
    return "0" * (len(code) - 1) + code


def _unescape(data: bytes) -> bytes:
    return data.replace(b"\0\0\3", b"\0\0")


def _escape(data: bytes) -> bytes:
    out = bytearray()
    for byte in data:
        if byte <= 3 and out[-2:] == b"\0\0":
            out.append(3)
        out.append(byte)
    return bytes(out)
