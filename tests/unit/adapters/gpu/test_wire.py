"""Messages between a decode worker and the GPU process: what is sent is read, and nothing else is taken."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adapters.gpu import wire
from orchestrator.adapters.gpu.wire import Connection, ConnectionLost, Kind, Shown, Stream, WireError

STREAM = Stream("h264", 1280, 720, 8, 90, 1, full_range=False)


@pytest.fixture
def ends() -> Iterator[tuple[Connection, Connection, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Connection(ours), Connection(theirs), theirs


def test_a_message_arrives_whole(ends: tuple[Connection, Connection, socket.socket]) -> None:
    ours, theirs, _ = ends
    data = np.random.default_rng(0).bytes(5 << 20)  # many times what a socket holds
    sender = threading.Thread(target=lambda: ours.send(Kind.PACKET, -7, *wire.encode_packet(5, data)))
    sender.start()
    kind, value, payload = theirs.receive()
    sender.join()
    assert (kind, value, wire.decode_packet(payload)) == (Kind.PACKET, -7, (5, data))


def test_the_other_end_may_be_gone(ends: tuple[Connection, Connection, socket.socket]) -> None:
    ours, theirs, _ = ends
    theirs.hang_up()
    theirs.hang_up()
    with pytest.raises(ConnectionLost):
        ours.receive()
    with pytest.raises(ConnectionLost):
        ours.send(Kind.RUN)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x63\0\0\0\0\0\0\0" + bytes(8),  # no such kind
        b"\x03\0\0\0\xff\xff\xff\xff" + bytes(8),  # four gigabytes
        b"\x12\0\0\0\0\0\0\0" + bytes(8),  # not what is due
    ],
)
def test_what_is_no_message_is_refused(ends: tuple[Connection, Connection, socket.socket], sent: bytes) -> None:
    ours, _, raw = ends
    raw.sendall(sent)
    with pytest.raises(WireError):
        ours.expect(Kind.FRAMES)


def test_a_stream_travels() -> None:
    assert Stream.decode(STREAM.encode()) == STREAM


@pytest.mark.parametrize(
    "change", [{0: 5}, {1: 0}, {1: 1e3}, {2: 1 << 40}, {3: 9}, {4: 45}, {5: "1"}, {1: True}], ids=str
)
def test_an_impossible_stream_is_refused(change: dict[int, object]) -> None:
    fields = json.loads(STREAM.encode())
    for place, value in change.items():
        fields[place] = value
    with pytest.raises(WireError):
        Stream.decode(json.dumps(fields).encode())


@given(st.binary(max_size=60))
def test_garbage_is_refused_or_understood(payload: bytes) -> None:
    for decode in (Stream.decode, wire.decode_packet, wire.decode_places, wire.decode_handles):
        try:
            decode(payload)
        except WireError:
            continue


@given(
    st.lists(
        st.tuples(
            st.integers(-(1 << 60), 1 << 60),
            st.lists(st.tuples(st.integers(0, 31), st.integers(1, 1 << 31), st.integers(0, 5), st.integers(1, 4))),
        ),
        max_size=4,
    )
)
def test_frames_travel(frames: list[tuple[int, list[tuple[int, int, int, int]]]]) -> None:
    rng = np.random.default_rng(1)
    sent = [
        Shown(
            pts,
            64,
            48,
            tuple(
                (tap, handle, rng.random((rows, columns), np.float32) if rows else None)
                for tap, handle, rows, columns in pictures
            ),
        )
        for pts, pictures in frames
    ]
    came = wire.decode_frames(wire.encode_frames(sent))
    assert [(frame.pts, frame.width, frame.height) for frame in came] == [(pts, 64, 48) for pts, _ in frames]
    for ours, theirs in zip(sent, came, strict=True):
        for (tap, handle, thumbnail), found in zip(ours.pictures, theirs.pictures, strict=True):
            assert (tap, handle) == found[:2]
            if thumbnail is None:
                assert found[2] is None
            else:
                np.testing.assert_array_equal(thumbnail, found[2])


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, (1 << 32) - 1))))
def test_places_and_handles_travel(places: list[tuple[int, int]]) -> None:
    assert wire.decode_places(wire.encode_places(places)) == places
    handles = [handle for _, handle in places]
    assert wire.decode_handles(wire.encode_handles(handles)) == handles
