"""The GPU process takes a decode worker for hostile: it may fill its own slots with its own pictures, and nothing else."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
import torch

from orchestrator.adapters.gpu import sessions, wire
from orchestrator.adapters.gpu.sessions import Allowance, Session
from orchestrator.adapters.gpu.wire import Connection, ConnectionLost, Kind, Stream
from orchestrator.core.frames import Fit, Tap, View
from orchestrator.core.sampling import Sampling
from tests.support.gpu import Faults, HostDevice

TAPS = (Tap(View(16, 8), Sampling(Fraction(1)), 2), Tap(View(8, 8, Fit.LETTERBOX), Sampling(Fraction(1)), 4, host=True))
EXTENTS = ((0, 4096), (8192,))
STREAM = Stream("h264", 64, 48, 8, 0, 1, full_range=False)


class Desk:
    """A session and its worker's ends."""

    def __init__(self) -> None:
        self.memory = torch.full((4 * 4096,), 7, dtype=torch.uint8)
        self.ended = 0
        self.session = Session(HostDevice(Faults(), self.memory), Allowance(TAPS, EXTENTS, 64 * 64), self._end)
        pairs = [socket.socketpair() for _ in range(2)]
        self.control, self.stream = (Connection(ours) for ours, _ in pairs)
        control, stream = (Connection(theirs) for _, theirs in pairs)
        self.session.serve(control, [stream])

    def _end(self) -> None:
        self.ended += 1

    def refused(self, which: Connection, kind: Kind, value: int = 0, *parts: bytes) -> None:
        """The message ends the session."""
        which.send(kind, value, *parts)
        for each in (self.control, self.stream):
            with pytest.raises(ConnectionLost):
                each.receive()
        assert bool((self.memory == 7).all()), "nothing was written"


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.session.close()


def rows(memory: torch.Tensor, offset: int, tap: Tap) -> np.ndarray:
    return memory[offset : offset + tap.slot_bytes].view(tap.batch, tap.view.height, tap.view.width, 3).numpy()


def test_a_picture_goes_into_its_row_and_is_gone(desk: Desk) -> None:
    picture = torch.arange(8 * 6 * 3, dtype=torch.uint8).view(6, 8, 3)  # letterboxed: two rows stay dark
    handle = desk.session.keep(picture, None)
    desk.control.send(Kind.FILL, 1 << 16 | 0, wire.encode_places([(2, handle)]))
    desk.control.expect(Kind.FILLED)
    made = rows(desk.memory, 8192, TAPS[1])
    np.testing.assert_array_equal(made[2, :6], picture.numpy())
    assert not made[2, 6:].any()
    assert (made[[0, 1, 3]] == 7).all(), "other rows are left alone"
    assert desk.session.forget(handle) is None


@pytest.mark.parametrize(
    ("place", "entry"),
    [
        (2 << 16, (0, 0)),  # no such tap
        (0 << 16 | 2, (0, 0)),  # no such slot
        (-1 << 16, (0, 0)),
        (1 << 16, (4, 0)),  # no such row
        (0 << 16, (0, 99)),  # no such picture
    ],
)
def test_other_memory_is_out_of_reach(desk: Desk, place: int, entry: tuple[int, int]) -> None:
    desk.refused(desk.control, Kind.FILL, place, wire.encode_places([entry]))


def test_a_picture_of_another_size_is_not_written(desk: Desk) -> None:
    handle = desk.session.keep(torch.zeros((40, 40, 3), dtype=torch.uint8), None)
    desk.refused(desk.control, Kind.FILL, 0, wire.encode_places([(0, handle)]))


@pytest.mark.parametrize("kind", [Kind.FILL, Kind.OPENED])
def test_each_connection_has_its_own_messages(desk: Desk, kind: Kind) -> None:
    desk.refused(desk.stream, kind)


def test_no_packet_before_its_stream(desk: Desk) -> None:
    desk.refused(desk.stream, Kind.PACKET, 0, *wire.encode_packet(1, b"x"))


def test_a_frame_above_the_limit_is_not_decoded_here(desk: Desk) -> None:
    desk.stream.send(Kind.OPEN, 0, Stream("h264", 128, 128, 8, 0, 1, full_range=False).encode())
    assert desk.stream.expect(Kind.OPENED)[0] == 0
    desk.stream.send(Kind.OPEN, 0, STREAM.encode())
    assert desk.stream.expect(Kind.OPENED)[0] == 1


def test_pictures_cannot_be_hoarded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_HELD", 1000)
    handles = [desk.session.keep(torch.zeros(400, dtype=torch.uint8), None) for _ in range(2)]
    with pytest.raises(wire.WireError):
        desk.session.keep(torch.zeros(400, dtype=torch.uint8), None)
    desk.session.forget(handles[0])


def test_memory_that_is_short_is_met_by_halves(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Painting more than two frames at once fails; all are painted none the less."""
    decoding = sessions._Decoding(desk.session, desk.stream)
    decoding._stream = STREAM
    real = decoding._paint_at_once
    tried: list[int] = []

    def short(size: tuple[int, int], group: list) -> list:
        tried.append(len(group))
        if len(group) > 2:
            raise torch.cuda.OutOfMemoryError("out of memory")
        return real(size, group)

    monkeypatch.setattr(decoding, "_paint_at_once", short)
    frame = torch.full((72, 64), 128, dtype=torch.uint8)
    group = [(sessions.Surface(pts, 64, 48, frame), 3) for pts in range(7)]
    shown = decoding._paint((64, 48), group)
    assert [each.pts for each in shown] == list(range(7))
    assert all([tap for tap, _, _ in each.pictures] == [0, 1] for each in shown)
    assert max(tried) == 7
    assert tried.count(1) + tried.count(2) >= 4


def test_the_end_is_told_once_when_both_connections_are_over(desk: Desk) -> None:
    desk.control.hang_up()
    with pytest.raises(ConnectionLost):
        desk.stream.receive()
    for _ in range(200):
        if desk.ended:
            break
        time.sleep(0.01)
    assert desk.ended == 1
