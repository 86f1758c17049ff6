"""Media made to do harm: files that are no video, that point elsewhere, that claim or unfold to more than
fits."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from tests.media import h264, isobmff, synth
from tests.media.case import Case, error, from_bytes, typed
from tests.media.encode import Encoding, encode_tone
from tests.media.synth import FRAMES, PLAIN

UNREADABLE, TOO_LARGE = "MEDIA_UNREADABLE", "MEDIA_TOO_LARGE"
FORMAT, CODEC, NO_VIDEO, LOCKED = "UNSUPPORTED_FORMAT", "UNSUPPORTED_CODEC", "NO_VIDEO_STREAM", "ENCRYPTED"
CANARY_TEXT = b"canary-4f1c2a: nobody may read this\n"
KEY = "00112233445566778899aabbccddeeff"
HUGE = 16_384
PIXELS_BEYOND_LIMIT = (8_192, 4_112)
"""Just above the limit of ``DecodeLimits.max_pixels``, and really coded."""


def cases() -> list[Case]:
    """Every hostile case."""
    no_media = error(UNREADABLE, FORMAT)
    return [
        from_bytes("empty", "empty.mp4", lambda: b"", no_media),
        from_bytes("one_byte", "one.mp4", lambda: b"\0", no_media),
        from_bytes("zeros", "zeros.mp4", lambda: bytes(65_536), no_media),
        from_bytes("noise", "noise.mp4", lambda: np.random.default_rng(1).bytes(65_536), no_media),
        from_bytes("text", "text.mp4", lambda: b"All work and no play.\n" * 500, no_media),
        from_bytes("html", "page.mp4", lambda: b"<!doctype html><title>404</title>" * 50, no_media),
        from_bytes("picture_png", "picture.mp4", _png, no_media),
        from_bytes("ftyp_only", "ftyp.mp4", lambda: synth.plain()[:32], no_media),
        *_pointing_elsewhere(),
        from_bytes("audio_only_mp4", "tone.mp4", lambda: _tone("mp4"), error(NO_VIDEO)),
        from_bytes("audio_only_matroska", "tone.mkv", lambda: _tone("matroska"), error(NO_VIDEO)),
        from_bytes("audio_only_mpegts", "tone.ts", lambda: _tone("mpegts"), error(NO_VIDEO)),
        from_bytes("cover_art_and_audio", "cover.m4a", _cover_art, error(NO_VIDEO)),
        _encoded("codec_ffv1", "ffv1.mkv", Encoding("ffv1", container="matroska"), CODEC),
        _encoded("codec_raw", "raw.mkv", Encoding("rawvideo", container="matroska"), CODEC, frames=5),
        _encoded("codec_ffv1_avi", "ffv1.avi", Encoding("ffv1", container="avi"), CODEC, FORMAT),
        _encoded("format_nut", "video.nut", Encoding("mpeg4", container="nut"), FORMAT, UNREADABLE),
        from_bytes("codec_vvc_tag", "vvc.mp4", lambda: _retag(b"vvc1"), error(CODEC)),
        from_bytes("codec_unknown_tag", "zzzz.mp4", lambda: _retag(b"zzzz"), error(CODEC, UNREADABLE)),
        _encoded("encrypted_cenc", "locked.mp4", replace(PLAIN, container_options=_CENC), LOCKED),
        _encoded("huge_picture", "huge.mp4", _ULTRAFAST, TOO_LARGE, frames=1, size=PIXELS_BEYOND_LIMIT),
        from_bytes("huge_sps", "sps.mp4", _huge_sps, error(TOO_LARGE, UNREADABLE)),
        *_bombs(),
    ]


_ULTRAFAST = Encoding(options={"preset": "ultrafast", "tune": "zerolatency"})
_CENC = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": KEY, "encryption_kid": KEY}


def _encoded(
    name: str,
    filename: str,
    how: Encoding,
    *reasons: str,
    frames: int = FRAMES,
    size: tuple[int, int] = (320, 240),
) -> Case:
    return from_bytes(name, filename, lambda: synth.video(how, frames, *size), error(*reasons))


def _pointing_elsewhere() -> list[Case]:
    """Bodies that make a careless demuxer open other files or addresses. A canary video and a canary text lie
    next to each."""
    hls = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2,\n{0}\n#EXT-X-ENDLIST\n"
    metadata = "http://169.254.169.254/latest/meta-data/"
    templates = {
        "ffconcat_relative": "ffconcat version 1.0\nfile canary.mp4\n",
        "ffconcat_absolute": "ffconcat version 1.0\nfile '{folder}/canary.mp4'\n",
        "ffconcat_text": "ffconcat version 1.0\nfile canary.txt\n",
        "hls_file": hls.format("file://{folder}/canary.ts"),
        "hls_relative": hls.format("canary.ts"),
        "hls_http": hls.format(metadata),
        "hls_concat": hls.format("concat:{folder}/canary.txt|{folder}/canary.ts"),
        "hls_key": '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="file://{folder}/canary.txt"\n#EXTINF:2,\ncanary.ts\n',
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
        "a=rtpmap:96 H264/90000\n",
        "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
        "<AdaptationSet><Representation><BaseURL>file://{folder}/canary.mp4</BaseURL></Representation>"
        "</AdaptationSet></Period></MPD>",
        "imf": '<?xml version="1.0"?><AssetMap xmlns="http://www.smpte-ra.org/schemas/429-9/2007/AM"></AssetMap>',
        "subtitles": "1\n00:00:00,000 --> 00:00:02,000\nfile://{folder}/canary.txt\n",
    }
    return [
        Case(
            f"{kind}_named_{suffix}",
            _with_canaries(template, suffix),
            error(FORMAT) if kind.startswith(("ffconcat", "hls", "sdp")) else error(FORMAT, UNREADABLE),
        )
        for kind, template in templates.items()
        for suffix in ("mp4", "txt")
    ]


def _with_canaries(template: str, suffix: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        (folder / "canary.txt").write_bytes(CANARY_TEXT)
        (folder / "canary.mp4").write_bytes(synth.plain())
        (folder / "canary.ts").write_bytes(synth.plain("mpegts"))
        path = folder / f"body.{suffix}"
        path.write_text(template.replace("{folder}", str(folder.absolute())), encoding="utf-8")
        return path

    return build


def _bombs() -> list[Case]:
    """Small files that claim or unfold to gigabytes, or recurse."""
    counts = {"stts": 0xFFFFFFFF, "ctts": 0x7FFFFFFF, "stsz": 0x0FFFFFFF, "stsc": 0x0FFFFFFF}
    return [
        from_bytes("nested_moov_bomb", "nest.mp4", partial(_nested, b"moov"), error(UNREADABLE, NO_VIDEO)),
        from_bytes("nested_trak_bomb", "nest.mp4", partial(_nested, b"trak"), error(UNREADABLE, NO_VIDEO)),
        from_bytes("many_traks_bomb", "traks.mp4", _many_traks, typed(FRAMES)),
        from_bytes("sample_size_bomb", "stsz.mp4", _uniform_samples, typed()),
        *(
            from_bytes(f"table_bomb_{table}", "table.mp4", partial(_lying_count, table, count), typed(FRAMES))
            for table, count in counts.items()
        ),
        from_bytes("box_size_64bit_max", "size.mp4", _endless_box, error(UNREADABLE, NO_VIDEO)),
    ]


def _lying_count(table: str, count: int) -> bytes:
    return isobmff.set_entry_count(synth.plain(), table, count)


def _uniform_samples() -> bytes:
    """``stsz`` says: 2^28 samples of one byte each. A uniform size needs no table, so the claim costs no
    bytes."""
    data = synth.plain()
    stsz = isobmff.find(data, f"{isobmff.STBL}/stsz")
    return isobmff.patch(data, stsz.body + 4, struct.pack(">II", 1, 1 << 28))


def _many_traks() -> bytes:
    data = synth.plain(moov="last")
    return isobmff.append_to_moov(data, isobmff.make_box(b"trak") * 20_000)


def _nested(kind: bytes, depth: int = 5_000) -> bytes:
    data = synth.plain()
    bomb = b"".join(struct.pack(">I4s", 8 * (depth - level), kind) for level in range(depth))
    return data[: isobmff.find(data, "ftyp").end] + isobmff.make_box(b"moov", bomb)


def _endless_box() -> bytes:
    data = synth.plain()
    endless = struct.pack(">I4sQ", 1, b"moov", (1 << 63) - 1)
    return data[: isobmff.find(data, "ftyp").end] + endless + bytes(64)


def _huge_sps() -> bytes:
    """A parameter set of 16384x16384 in front of pictures that were coded for 320x240."""
    options = {"profile": "baseline", "crf": "28"}
    data = synth.video(Encoding(options=options), frames=5)
    path = f"{isobmff.STBL}/stsd/avc1/avcC"
    box = isobmff.find(data, path)
    body = data[box.body : box.end]
    (length,) = struct.unpack_from(">H", body, 6)
    sps = h264.with_size(body[8 : 8 + length], HUGE, HUGE)
    return isobmff.replace_box(data, path, body[:6] + struct.pack(">H", len(sps)) + sps + body[8 + length :])


def _retag(tag: bytes) -> bytes:
    data = synth.plain()
    return isobmff.patch(data, isobmff.sample_entry(data).start + 4, tag)


def _png() -> bytes:
    return cv2.imencode(".png", next(synth.pattern(1)))[1].tobytes()


def _tone(container: str) -> bytes:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "tone"
        encode_tone(path, 1.0, container)
        return path.read_bytes()


def _cover_art() -> bytes:
    """An audio file whose only picture is its cover (``udta/meta/ilst/covr``)."""
    covr = isobmff.make_box(b"covr", isobmff.make_box(b"data", struct.pack(">II", 14, 0), _png()))
    handler = isobmff.make_box(b"hdlr", bytes(8), b"mdirappl", bytes(9))
    meta = isobmff.make_box(b"meta", bytes(4), handler, isobmff.make_box(b"ilst", covr))
    data = _tone("mp4")
    return isobmff.append_to_moov(data, isobmff.make_box(b"udta", meta))
