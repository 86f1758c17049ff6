"""What of NVDEC's adapter needs none: what the hardware takes, and what the library prints."""

from __future__ import annotations

import subprocess
import sys

import pytest

from orchestrator.adapters.gpu.nvdec import CODECS, fits
from orchestrator.adapters.gpu.wire import Stream

CAPS = {"width_min": 144, "width_max": 4096, "height_min": 144, "height_max": 4096, "mb_num_max": 65536}


def stream(width: int, height: int) -> Stream:
    return Stream("hevc", width, height, 8, 0, 1, full_range=False)


@pytest.mark.parametrize(
    ("size", "taken"),
    [((1920, 1080), True), ((4096, 4096), True), ((142, 300), False), ((300, 142), False), ((4098, 300), False)],
)
def test_sizes_that_the_hardware_takes(size: tuple[int, int], taken: bool) -> None:
    assert fits(stream(*size), CAPS) is taken


def test_blocks_are_limited_too() -> None:
    assert not fits(stream(4096, 4096), CAPS | {"mb_num_max": 65535})


def test_what_is_not_decoded_at_all_fits_nothing() -> None:
    assert not fits(stream(1280, 720), dict.fromkeys(CAPS, 0))


def test_codecs_are_named_as_libav_names_them() -> None:
    import av

    assert all(av.codec.Codec(name, "r").canonical_name == name for name in CODECS)


def test_reports_of_damage_are_counted_and_nothing_else_is_printed() -> None:
    """Written by C's own printf, in pieces."""
    program = """
import ctypes, sys
from orchestrator.adapters.gpu.nvdec import Output
libc = ctypes.CDLL(None)
output = Output()
assert output.read() == 0
libc.printf(b"Decode Error occurred for picture %d\\n", 3)
libc.printf(b"Decode Err")
assert output.read() == 1
libc.printf(b"or occurred for picture 4 and something else")
assert output.read() == 2
for number in range(2000):
    libc.printf(b"Decode Error occurred for picture %d\\n", number)
    if number % 100 == 0:
        output.read()
assert output.read() == 2002
print("fine", file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "fine\n")
