"""Elementary streams: what is passed on decodes to the very frames of the container, from any keyframe on, without its extradata."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adapters.decoders.elementary import START_CODE, Elementary, NotElementary
from tests.unit.adapters.decoders.clips import CLIPS


@pytest.mark.parametrize(
    "name", ["plain.mp4", "pyramid.mp4", "hevc.mp4", "hevc-opengop.mkv", "opengop.ts", "vp9.webm", "av1.mp4"]
)
def test_each_unit_decodes_by_itself(tmp_path: Path, name: str) -> None:
    path = next(clip for clip in CLIPS if clip.name == name).write(tmp_path)
    with av.open(str(path)) as media:
        stream = media.streams.video[0]
        codec = stream.codec_context.codec.canonical_name
        shown = Elementary.of(codec, stream.codec_context.extradata)
        assert shown.length_size == (4 if name.endswith((".mp4", ".mkv")) and codec in ("h264", "hevc") else 0)
        packets = [(packet.is_keyframe, packet.pts, bytes(packet)) for packet in media.demux(stream) if packet.size]
    with av.open(str(path)) as media:
        frames = {frame.pts: frame.to_ndarray() for frame in media.decode(video=0)}
    starts = [at for at, (key, _, _) in enumerate(packets) if key]
    assert len(starts) > 1
    seen = 0
    for start, end in zip(starts, [*starts[1:], len(packets)], strict=True):
        decoder = av.CodecContext.create("libdav1d" if codec == "av1" else codec, "r")
        decoder.thread_count = 1
        made = []
        for at, (_, pts, data) in enumerate(packets[start:end]):
            packet = av.Packet((b"" if at else shown.headers) + shown.packet(data))
            packet.pts = pts
            made += decoder.decode(packet)
        made += decoder.decode(None)
        for frame in made:
            if frame.pts >= packets[start][1]:  # leading pictures need the unit before
                assert np.array_equal(frame.to_ndarray(), frames[frame.pts])
                seen += 1
    assert seen >= len(frames) * 0.8


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.sampled_from([1, 2, 4]))
def test_lengths_become_start_codes(units: list[bytes], length_size: int) -> None:
    stored = b"".join(len(unit).to_bytes(length_size, "big") + unit for unit in units)
    assert Elementary(b"", length_size).packet(stored) == b"".join(START_CODE + unit for unit in units)
    if stored:
        with pytest.raises(NotElementary):
            Elementary(b"", length_size).packet(stored[:-1])


@given(st.sampled_from(["h264", "hevc", "av1", "vp9"]), st.binary(max_size=80))
def test_any_extradata_is_taken_or_refused(codec: str, extradata: bytes) -> None:
    for data in (extradata, b"\1" + extradata):
        try:
            made = Elementary.of(codec, data)
        except NotElementary:
            continue
        assert made.length_size in (0, 1, 2, 3, 4)
