"""Every awkward media, by upload, through the one running server: the right answer, in time, and no harm to the next."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from orchestrator.api.client import AnalysisOptions, ClientError, ReelsiftClient
from tests.acceptance.answers import Answer, assert_same, collect
from tests.acceptance.canary import FolderCanary, PortCanary
from tests.acceptance.server import Server
from tests.media.case import Facts
from tests.media.pathology import CASES, GOOD, HOSTILE, SOUND

ANSWER_SECONDS = 30.0
TOGETHER = 5
OPTIONS = AnalysisOptions(profile="every_frame", ignore_known=True)
WHITE = 200  # of 255: mean of the corner that holds the white square; the texture elsewhere is below

_good: list[Answer] = []  # the first answer for the good media: the baseline of this run


async def assert_unharmed(server: Server, client: ReelsiftClient, folder: Path) -> None:
    """The good media is answered as ever, by the same server."""
    answer = await asyncio.wait_for(collect(client.analyze_file(GOOD.build(folder), OPTIONS)), ANSWER_SECONDS)
    _good.append(answer)
    assert not GOOD.expect.mismatch(frames=answer.finished.ledger.decoded_frames, partial=answer.finished.partial)
    assert_same(answer, _good[0])
    assert server.alive


async def ask(client: ReelsiftClient, path: Path) -> tuple[Answer | None, ClientError | None]:
    """The answer, or the error; ``AssertionError`` when it comes late or is not typed."""
    began = time.monotonic()
    try:
        answer = await asyncio.wait_for(collect(client.analyze_file(path, OPTIONS)), ANSWER_SECONDS)
    except ClientError as error:
        return None, error
    except TimeoutError:
        raise AssertionError(f"no answer within {time.monotonic() - began:.0f} s") from None
    return answer, None


def mismatch(name: str, answer: Answer | None, error: ClientError | None) -> str | None:
    expect = CASES[name].expect
    if error is not None:
        assert error.grpc_code in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"), (error.grpc_code, error.reason)
        return expect.mismatch(reason=error.reason)
    assert answer is not None
    finished = answer.finished
    return expect.mismatch(partial=finished.partial, frames=finished.ledger.decoded_frames)


def groups() -> dict[str, list[str]]:
    """Cases that share a test, by its name: five cuts of one file, five seeds of one damage; every other case has its own.

    A worker lives for one media alone, so what a bad one could harm is the service's own; the good media behind five
    alike finds that too, in half of the time.
    """
    found: dict[str, list[str]] = {}
    for name in CASES:
        stem, _, number = name.rpartition("_")
        alike = number.isdigit() and sum(each.startswith(f"{stem}_") for each in CASES) >= TOGETHER
        key = f"{stem}_{int(number) // TOGETHER * TOGETHER:02}+" if alike else name
        found.setdefault(key, []).append(name)
    return found


@pytest.mark.parametrize("group", [pytest.param(names, id=key) for key, names in groups().items()])
async def test_each_media_gets_its_answer_and_the_next_is_unharmed(
    server: Server, client: ReelsiftClient, tmp_path: Path, group: list[str]
) -> None:
    if not _good:
        await assert_unharmed(server, client, tmp_path)
    wrong = {}
    for name in group:
        path = CASES[name].build(tmp_path)
        answer, error = await ask(client, path)
        wrong[name] = mismatch(name, answer, error)
        if error is not None:
            assert str(path.parent) not in str(error)
            assert "served-" not in str(error)
        if answer is not None:
            check_account(answer)
            if name in SOUND:
                check_facts(answer, CASES[name].expect.facts)
    assert not {name: what for name, what in wrong.items() if what}
    await assert_unharmed(server, client, tmp_path)


def check_account(answer: Answer) -> None:
    """What holds for every analysis that finishes: nothing is lost silently, and intervals tile."""
    finished, ledger = answer.finished, answer.finished.ledger
    assert ledger.expected_frames == ledger.decoded_frames + ledger.corrupt_frames + ledger.dropped_frames
    assert finished.partial or ledger.decoded_frames == ledger.source_frames
    assert finished.partial == finished.HasField("first_bad_pts") == bool(finished.fault)
    intervals = [segment.interval for segment in answer.segments]
    assert finished.segment_count == len(intervals) > 0
    assert intervals[0].start_frame == 0
    for before, after in pairwise(intervals):
        assert (before.end_frame, before.end_pts) == (after.start_frame, after.start_pts)
    assert all(each.start_frame < each.end_frame and each.start_pts < each.end_pts for each in intervals)


def check_facts(answer: Answer, facts: Facts) -> None:
    """The exact facts of a sound media."""
    media = answer.media
    assert facts.width in (None, media.width)
    assert facts.height in (None, media.height)
    assert facts.rotation in (None, media.rotation_degrees)
    assert facts.bit_depth in (None, media.bit_depth)
    assert facts.codec in (None, media.codec)
    if facts.seconds is not None:
        base = media.time_base
        for segment in answer.segments:
            at = (segment.interval.start_pts - media.start_pts) * base.numerator / base.denominator
            assert at == pytest.approx(float(facts.seconds[segment.interval.start_frame]), abs=0.001)
    if facts.corner is not None and min(media.width, media.height) >= 100:
        thumbnail = answer.segments[0].thumbnail
        picture = cv2.imdecode(np.frombuffer(thumbnail.jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
        assert white_corners(picture) == [facts.corner]


def white_corners(picture: np.ndarray) -> list[str]:
    side = max(2, min(picture.shape) // 8)
    corners = {
        "top-left": picture[:side, :side],
        "top-right": picture[:side, -side:],
        "bottom-left": picture[-side:, :side],
        "bottom-right": picture[-side:, -side:],
    }
    return [name for name, pixels in corners.items() if pixels.mean() > WHITE]


POINTING = [name for name in HOSTILE if "_named_" in name]


@pytest.mark.parametrize("name", [name for name in POINTING if name.endswith("_mp4")])
async def test_no_file_that_a_body_names_is_opened(client: ReelsiftClient, tmp_path: Path, name: str) -> None:
    path = CASES[name].build(tmp_path)
    data = path.read_bytes()
    with FolderCanary(tmp_path) as canary:
        answer, error = await ask(client, path)
        assert not mismatch(name, answer, error)
        assert canary.touched() <= {path.name}, "only we read it, to send it"
        (tmp_path / "canary.txt").read_bytes()
        assert "canary.txt" in canary.touched(), "the control: the canary sees a reader"
    assert path.read_bytes() == data


BODIES = {
    "ffconcat": "ffconcat version 1.0\nfile http://127.0.0.1:{port}/a.mp4\nfile tcp://127.0.0.1:{port}\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n",
    "hls_master": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://127.0.0.1:{port}/a.m3u8\n",
    "hls_key": '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="http://127.0.0.1:{port}/k"\n#EXTINF:2,\ntcp://127.0.0.1:{port}\n',
    "dash": '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet><Representation>'
    "<BaseURL>http://127.0.0.1:{port}/a.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
}


@pytest.mark.parametrize("kind", BODIES)
async def test_no_address_that_a_body_names_is_called(client: ReelsiftClient, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "body.mp4"
    with PortCanary() as canary:
        path.write_text(BODIES[kind].format(port=canary.port))
        _, error = await ask(client, path)
        assert error is not None
        assert error.reason in ("UNSUPPORTED_FORMAT", "MEDIA_UNREADABLE")
        assert str(canary.port) not in str(error)
        assert not canary.touched()
        _, writer = await asyncio.open_connection("127.0.0.1", canary.port)
        writer.close()
        assert canary.touched(), "the control: the canary hears a caller"


async def test_what_must_be_there_is_there() -> None:
    """The list of the requirement against the registry, so that no case can leave unseen."""
    wanted = dict.fromkeys([f"truncated_{kind}_" for kind in ("mp4", "fragments", "matroska", "mpegts")], 20)
    wanted |= {"bit_flipped_": 20, "empty": 1, "text": 1, "audio_only_": 3, "tail_garbage_": 2, "one_frame": 1}
    wanted |= {"vfr_": 2, "rotated_": 3, "odd_size_": 2, "h264_10bit": 1, "hevc_10bit": 1, "declared_": 2, "huge_": 2}
    wanted |= {"ffconcat_": 6, "hls_": 10, "sdp_": 2, "codec_": 4, "encrypted_": 1, "video_named_txt": 1}
    for prefix, count in wanted.items():
        assert sum(name.startswith(prefix) for name in CASES) >= count, prefix
