"""Opening untrusted bytes: what they are, whether they are allowed, and decoders for their video stream.

libav gets a reader object, never a name; only ordinary file formats may be probed, and no protocol but ``pipe`` may
be opened by one.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from fractions import Fraction

import av
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from orchestrator.adapters.decoders.reading import MediaReader
from orchestrator.errors import (
    Encrypted,
    MediaTooLarge,
    MediaUnreadable,
    NoVideoStream,
    UnsupportedCodec,
    UnsupportedFormat,
)

ANALYZE_MICROSECONDS = 1_500_000
FORMATS = "mov,matroska,webm,mpegts,mpeg,avi,flv,ogg,asf"
CODECS = frozenset(
    (
        *("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "prores", "theora"),
        *("wmv1", "wmv2", "wmv3", "vc1", "flv1", "h263", "msmpeg4v2", "msmpeg4v3"),
    )
)
# What libav raises on bad media, beside its own errors: names that are not UTF-8, tables that point nowhere, integers
# out of range.
MEDIA_ERRORS = (av.FFmpegError, ValueError, IndexError, OverflowError, ZeroDivisionError, EOFError)
_ISO_BOXES = frozenset((b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"moof", b"uuid"))
_NOT_VIDEO = ((b"ID3", 0), (b"fLaC", 0), (b"WAVE", 8), (b"\xff\xfb", 0), (b"\xff\xf1", 0), (b"AIFF", 8), (b"#!AMR", 0))
_FOREIGN = (
    (b"\x89PNG", 0),
    (b"\xff\xd8\xff", 0),
    (b"GIF8", 0),
    (b"%PDF", 0),
    (b"PK\x03\x04", 0),
    (b"WEBP", 8),
    (b"\x1f\x8b", 0),
)
_ATTACHED = av.stream.Disposition.attached_pic


@dataclass(slots=True)
class Opened:
    """An open container with its video stream. ``promised_end`` is the byte where the outermost structure says that
    the file ends, if it says so.
    """

    container: InputContainer
    stream: VideoStream
    format: str
    codec: str
    time_base: Fraction
    average_rate: Fraction | None
    duration_ns: int | None
    indexed: bool


def open_media(reader: MediaReader, max_pixels: int) -> Opened:
    """Open the bytes; raises a ``MediaError`` that says what is wrong with them."""
    head = reader.peek(64 * 1024 if reader.complete else 512)
    kind = _sniff(head)
    reader.is_seekable = kind in ("iso", "asf", "avi") or (kind == "stream" and reader.complete)
    if kind in ("asf", "avi"):
        reader.size()  # their index is at the end, and they mark keyframes there
    options = {
        "format_whitelist": FORMATS,
        "protocol_whitelist": "pipe",
        "max_pixels": str(_guard(max_pixels)),
        "threads": "1",
    }
    # libav would look at five seconds of media before the first frame of a growing fragmented file
    options["analyzeduration"] = str(ANALYZE_MICROSECONDS)
    if kind == "iso":
        options["fflags"] = "+ignidx"  # stop at the first media data instead of walking to the end of the file
    try:
        container = av.open(reader, options=options, metadata_errors="replace", buffer_size=256 * 1024)
        return _choose(container)
    except MEDIA_ERRORS as error:
        raise MediaUnreadable("no video could be read from these bytes") from error


def _sniff(head: bytes) -> str:
    """Family of the container: ``iso``, ``matroska``, ``avi``, ``asf``, ``stream`` (read front to back) or
    ``unknown``.
    """
    if not head:
        raise MediaUnreadable("the media is empty")
    if head[4:8] in _ISO_BOXES:
        return "iso"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[:4] == b"\x30\x26\xb2\x75":
        return "asf"
    if any(head[at : at + len(magic)] == magic for magic, at in _NOT_VIDEO):
        raise NoVideoStream("an audio file has no video stream")
    if any(head[at : at + len(magic)] == magic for magic, at in _FOREIGN) or _is_text(head[:512]):
        raise UnsupportedFormat("not a video container that is accepted here")
    return "stream"


def _is_text(head: bytes) -> bool:
    head = head.removeprefix(b"\xef\xbb\xbf")
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return False
        text = head[: error.start].decode("utf-8")  # the excerpt ends inside a character
    return bool(text) and all(character.isprintable() or character in "\r\n\t" for character in text)


def _choose(container: InputContainer) -> Opened:
    """The video stream to analyse: the first that is not a cover picture."""
    videos = [s for s in container.streams.video if not s.disposition & _ATTACHED]
    if not videos:
        raise NoVideoStream("the media has no video stream")
    stream = videos[0]
    if any(tag in ("encv", "drmi") for tag in (_tag(s) for s in videos)):
        raise Encrypted("the video is encrypted")
    codec = _codec(stream)
    if codec not in CODECS:
        raise UnsupportedCodec("the video codec is not accepted here", codec=codec)
    if not stream.time_base or stream.time_base <= 0:
        raise MediaUnreadable("the video has no usable time base")
    for other in container.streams:
        if other.index != stream.index:
            other.discard = av.stream.Discard.all
    rate = stream.average_rate or stream.guessed_rate
    return Opened(
        container=container,
        stream=stream,
        format=container.format.name.split(",")[0],
        codec=codec,
        time_base=stream.time_base,
        average_rate=Fraction(rate) if rate and 0 < rate < 100_000 else None,
        duration_ns=_duration(container, stream),
        indexed="mov" in container.format.name,
    )


def _tag(stream: VideoStream) -> str:
    try:
        return str(stream.codec_context.codec_tag)
    except (UnicodeDecodeError, AttributeError):  # not ASCII; no decoder
        return ""


def _codec(stream: VideoStream) -> str:
    """Name of the codec (not of the decoder)."""
    try:
        return str(stream.codec_context.codec.canonical_name)
    except AttributeError:  # libav knows no decoder for it
        return "unknown"


def _duration(container: InputContainer, stream: VideoStream) -> int | None:
    if stream.duration and stream.duration > 0 and stream.time_base:
        return int(stream.duration * stream.time_base * 1_000_000_000)
    if container.duration and container.duration > 0:
        return int(container.duration) * 1000
    return None


def make_decoder(stream: VideoStream, max_pixels: int) -> VideoCodecContext:
    """A decoder of its own for ``stream``: same parameters (reorder depth included), one thread.

    PyAV copies all codec parameters only through a template stream, so a throw-away muxer serves as one; nothing is
    written.
    """
    context = _copy_of(stream)
    context.codec_tag = stream.codec_context.codec_tag
    context.flags = stream.codec_context.flags
    context.thread_count = 1
    context.options = {"max_pixels": str(_guard(max_pixels))}
    return context


def _copy_of(stream: VideoStream) -> VideoCodecContext:
    for muxer in ("matroska", "nut", "avi", "flv"):  # each knows other codecs
        try:
            context = (
                av.open(io.BytesIO(), "w", format=muxer).add_stream_from_template(stream, opaque=True).codec_context
            )
        except ValueError:
            continue
        assert isinstance(context, VideoCodecContext)
        return context
    raise UnsupportedCodec("the video codec is not accepted here", codec=_codec(stream))


def _guard(max_pixels: int) -> int:
    """libav's own limit: it counts padding too, so it is wider; ``check_pixels`` is exact."""
    return 2 * max_pixels + (1 << 18)


def check_pixels(picture: av.VideoFrame | VideoCodecContext, max_pixels: int) -> None:
    """Raise ``MediaTooLarge`` for a frame (or a stream about to be decoded) above the limit, whatever the container
    said.
    """
    if picture.width * picture.height > max_pixels:
        raise MediaTooLarge(
            "a frame is larger than the limit", width=picture.width, height=picture.height, limit=max_pixels
        )


def check_clear(packet: av.Packet[VideoStream]) -> None:
    """Raise ``Encrypted`` for a packet that came with a key's description (ISO/IEC 23001-7), whatever the sample entry
    calls itself.
    """
    if packet.has_sidedata("encryption_info"):
        raise Encrypted("the video is encrypted")


def promised_end(reader: MediaReader) -> int | None:
    """Byte at which the file should end by its outermost structure (MP4 boxes, Matroska segment, RIFF), else
    ``None``.
    """
    head = reader.peek(64)
    if head[4:8] in _ISO_BOXES:
        return _iso_end(reader)
    if head[:4] == b"RIFF":
        return int(struct.unpack_from("<I", head, 4)[0]) + 8
    if head[:4] == b"\x1a\x45\xdf\xa3":
        _, ebml_size, at = _ebml(head, 0)
        identity, size, at = _ebml(reader.at(at + ebml_size, 16), 0, at + ebml_size)
        return at + size if identity == 0x18538067 and size >= 0 else None
    return None


def _iso_end(reader: MediaReader) -> int | None:
    at, total = 0, reader.size()
    while at < total:
        header = reader.at(at, 16)
        if len(header) < 8:
            return at + 8
        size, kind = struct.unpack_from(">I4s", header)
        if not kind.isascii() or not kind.decode("ascii").isprintable():
            return at  # garbage after the last box
        if size == 1 and len(header) == 16:
            size = struct.unpack_from(">Q", header, 8)[0]
        if size < 8:
            return total if size == 0 else at
        at += size
    return at


def _ebml(data: bytes, at: int, base: int = 0) -> tuple[int, int, int]:
    """Identity, size (-1 when unknown) and the byte after the header of an EBML element."""
    if at >= len(data):
        return 0, -1, base
    length = 9 - data[at].bit_length()
    identity = int.from_bytes(data[at : at + length], "big")
    at += length
    if at >= len(data):
        return 0, -1, base
    length = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + length], "big") & ((1 << 7 * length) - 1)
    return identity, -1 if value == (1 << 7 * length) - 1 else value, base + at + length


def is_shown(codec: str, packet: av.Packet[VideoStream]) -> bool:
    """Whether the packet puts a picture on the screen: not one that an edit list hides, nor a VP8 alternate
    reference.
    """
    if packet.is_discard:
        return False
    if codec == "vp8" and packet.size:
        return bool(memoryview(packet)[0] >> 4 & 1)
    return True


def may_skip_references(codec: str, extradata: bytes | None) -> bool:
    """Whether a picture marked as non-reference is needed by no other.

    HEVC marks only within a temporal sub-layer, so a stream must declare a single one (``numTemporalLayers`` of its
    hvcC).
    """
    if codec == "hevc":
        return bool(extradata and len(extradata) > 22 and extradata[0] == 1 and (extradata[21] >> 3 & 7) == 1)
    return codec in ("h264", "mpeg4", "mpeg2video", "mpeg1video", "vc1", "wmv3")
