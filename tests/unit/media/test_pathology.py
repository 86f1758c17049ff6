"""Every awkward media can be built, is the same each time, and is what its expectation claims."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.media import h264, isobmff, synth
from tests.media.case import MEDIA_REASONS, Case, Expect, error, ok, ok_or, partial_or, typed
from tests.media.pathology import CASES, DAMAGED, GOOD, HOSTILE, SOUND

LARGEST = 8 << 20
CORNERS = {
    "top-left": np.s_[:30, :30],
    "top-right": np.s_[:30, -30:],
    "bottom-left": np.s_[-30:, :30],
    "bottom-right": np.s_[-30:, -30:],
}
BIT_DEPTHS = {"yuv420p": 8, "yuv444p": 8, "yuv420p10le": 10}
DECODER_NAMES = {"flv": "flv1", "libdav1d": "av1"}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_case_builds(case: Case, tmp_path: Path) -> None:
    path = case.build(tmp_path)
    assert path.parent == tmp_path
    assert path.stat().st_size <= LARGEST
    assert isinstance(case.expect, Expect)


def test_the_registry_covers_what_the_issue_lists() -> None:
    assert len(CASES) == len(SOUND) + len(DAMAGED) + len(HOSTILE)
    for container in ("mp4", "fragments", "matroska", "mpegts"):
        assert sum(name.startswith(f"truncated_{container}_") for name in CASES) == 20
    for word in (
        "bit_flipped",
        "empty",
        "text",
        "named",
        "audio_only",
        "tail_garbage",
        "one_frame",
        "vfr",
        "rotated",
    ):
        assert any(word in name for name in CASES), word
    for word in (
        "odd_size",
        "10bit",
        "declared_65535",
        "huge_sps",
        "ffconcat",
        "hls",
        "sdp",
        "bomb",
        "cover_art",
    ):
        assert any(word in name for name in CASES), word


@pytest.mark.parametrize("case", SOUND.values(), ids=SOUND)
def test_sound_media_hold_what_is_claimed(case: Case, tmp_path: Path) -> None:
    facts = case.expect.facts
    times: list[Fraction] = []
    with av.open(str(case.build(tmp_path))) as container:
        stream = container.streams.video[0]
        codec = stream.codec_context.name
        for frame in container.decode(stream):
            if not times:
                first = np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)
                rotation, pixels = -frame.rotation % 360, frame.format.name
            times.append(frame.pts * frame.time_base)
    assert case.expect == ok(len(times), facts)
    assert facts.seconds == tuple(time - times[0] for time in times)
    assert all(a < b for a, b in pairwise(times))
    assert (facts.height, facts.width) == first.shape[:2]
    assert facts.rotation in (None, rotation)
    assert facts.codec in (None, DECODER_NAMES.get(codec, codec))
    assert facts.bit_depth in (None, BIT_DEPTHS[pixels])
    if facts.corner and min(first.shape[:2]) >= 240:
        assert _white_corners(first) == [facts.corner]


def _white_corners(picture: NDArray[np.uint8]) -> list[str]:
    return [name for name, where in CORNERS.items() if picture[where].mean() > 230]


@pytest.mark.parametrize("name", ["plain", "matroska", "mpegts", "truncated_mp4_07", "bit_flipped_anywhere_03"])
def test_media_are_the_same_each_time(name: str, tmp_path: Path) -> None:
    first = CASES[name].build(tmp_path).read_bytes()
    synth.plain.cache_clear()
    assert CASES[name].build(tmp_path).read_bytes() == first


def test_truncations_reach_from_nothing_to_nearly_everything() -> None:
    for container in ("mp4", "fragments", "matroska", "mpegts"):
        expectations = [CASES[f"truncated_{container}_{cut:02}"].expect for cut in range(20)]
        kept = [expectation.min_frames for expectation in expectations]
        assert kept == sorted(kept)
        assert kept[0] == 0
        assert kept[-1] >= 45
    assert CASES["truncated_mp4_00"].expect == error("MEDIA_UNREADABLE")
    assert all(CASES[f"truncated_mp4_{cut:02}"].expect.reasons == frozenset() for cut in range(4, 20))


@pytest.mark.parametrize("cut", range(20))
def test_truncated_mp4_gives_every_whole_packet(cut: int, tmp_path: Path) -> None:
    case = CASES[f"truncated_mp4_{cut:02}"]
    assert _frames_that_decode(case.build(tmp_path)) >= case.expect.min_frames


def _frames_that_decode(path: Path) -> int:
    count = 0
    try:
        with av.open(str(path)) as container:
            for packet in container.demux(video=0):
                try:
                    count += len(packet.decode())
                except av.error.InvalidDataError:
                    continue
    except av.error.InvalidDataError:
        return count
    return count


def test_playlists_lie_next_to_what_they_point_at(tmp_path: Path) -> None:
    CASES["hls_file_named_mp4"].build(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"body.mp4", "canary.txt", "canary.mp4", "canary.ts"}
    assert f"file://{tmp_path}/canary.ts" in (tmp_path / "body.mp4").read_text()


def test_a_careless_demuxer_would_follow_the_concatenation(tmp_path: Path) -> None:
    """The case bites: without an allow-list of formats the neighbouring file is read."""
    path = CASES["ffconcat_relative_named_mp4"].build(tmp_path)
    assert _frames_that_decode(path) == synth.FRAMES


def test_the_encrypted_case_is_really_encrypted(tmp_path: Path) -> None:
    assert b"encv" in CASES["encrypted_cenc"].build(tmp_path).read_bytes()
    assert _frames_that_decode(tmp_path / "locked.mp4") < synth.FRAMES


def test_rewritten_parameter_set_declares_the_size(tmp_path: Path) -> None:
    data = CASES["huge_sps"].build(tmp_path).read_bytes()
    box = isobmff.find(data, f"{isobmff.STBL}/stsd/avc1/avcC")
    sps = data[box.body + 8 :][: int.from_bytes(data[box.body + 6 : box.body + 8])]
    assert h264.with_size(sps, 16_384, 16_384) == sps
    assert h264.with_size(h264.with_size(sps, 320, 240), 16_384, 16_384) == sps
    assert len(h264.with_size(sps, 320, 240)) <= len(sps)


def test_good_media_is_plain() -> None:
    assert GOOD is CASES["plain"]
    assert GOOD.expect.completes
    assert not GOOD.expect.partial


@pytest.mark.parametrize(
    ("expect", "answer", "right"),
    [
        (ok(50), {"frames": 50}, True),
        (ok(50), {"frames": 49}, False),
        (ok(50), {"frames": 50, "partial": True}, False),
        (ok(50), {"reason": "MEDIA_UNREADABLE"}, False),
        (error("NO_VIDEO_STREAM"), {"reason": "NO_VIDEO_STREAM"}, True),
        (error("NO_VIDEO_STREAM"), {"reason": "MEDIA_UNREADABLE"}, False),
        (error("NO_VIDEO_STREAM"), {"frames": 1}, False),
        (partial_or("MEDIA_UNREADABLE", min_frames=9), {"frames": 9, "partial": True}, True),
        (partial_or("MEDIA_UNREADABLE", min_frames=9), {"frames": 8, "partial": True}, False),
        (partial_or("MEDIA_UNREADABLE"), {"frames": 0, "partial": True}, False),
        (partial_or("MEDIA_UNREADABLE"), {"frames": 50}, False),
        (partial_or(frames=50, may_complete=True), {"frames": 50}, True),
        (partial_or(frames=50, may_complete=True), {"frames": 49}, False),
        (ok_or(50, "MEDIA_TOO_LARGE"), {"reason": "MEDIA_TOO_LARGE"}, True),
        (typed(), {"reason": "DECODER_CRASHED"}, False),
        (typed(), {"reason": "INTERNAL"}, False),
        (typed(), {"frames": 3, "partial": True}, True),
    ],
)
def test_expectations_judge(expect: Expect, answer: dict[str, object], right: bool) -> None:
    assert (expect.mismatch(**answer) is None) is right  # type: ignore[arg-type]


def test_expectations_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="at least one answer"):
        Expect(False, False, frozenset())
    with pytest.raises(ValueError, match="unknown reasons"):
        error("OOPS")


def test_reasons_are_those_of_the_error_tree() -> None:
    from orchestrator import errors

    declared = {kind.reason for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "reason")}
    assert declared >= MEDIA_REASONS
