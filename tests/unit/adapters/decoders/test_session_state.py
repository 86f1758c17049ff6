"""A worker is taken for hostile: every message that cannot be true is refused, and lends no slot."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from orchestrator.adapters.decoders.slots import TapSlots, slots_per_tap
from orchestrator.adapters.decoders.state import SessionState
from orchestrator.adapters.decoders.wire import Message, ProtocolError
from orchestrator.adapters.frames.arena import Arena
from orchestrator.core.frames import FrameBatch, Tap, View
from orchestrator.core.media import Ledger, LedgerMark
from orchestrator.core.sampling import EVERY_FRAME
from orchestrator.ports import DecodeStart

TAP = Tap(View(16, 16), EVERY_FRAME, 4, reuse=True)
OPENED = {
    "t": "opened",
    "container": "mov",
    "codec": "h264",
    "decoder": "nvdec",
    "facts": [64, 48, 0, 1, 25, 8],
    "rate": [25, 1],
    "start": 0,
    "duration_ns": None,
}
TIMELINE = {"t": "timeline", "first": 0, "pts": [0, 1, 2, 3, 4, 5]}
LEDGER = {"counted": 3, "ledger": [6, 3, 3, 0, 0, 0, 1, 0], "bad": None}
BATCH = {
    "t": "batch",
    "tap": 0,
    "slot": 1,
    "through": 3,
    "rows": [[0, 0, 0, -1], [1, 1, -1, 0], [2, 2, 1, -1]],
    **LEDGER,
}
ADVANCED = {"t": "advanced", "through": [5], **LEDGER}
FINISHED = {
    "t": "finished",
    "frames": 6,
    "end": 6,
    "partial": 0,
    "final": [6, 3, 3, 0, 0, 3, 1, 0],
    "first_bad": None,
    **LEDGER,
}


def message(fields: dict[str, Any]) -> Message:
    return Message(json.dumps(fields).encode())


@pytest.fixture
async def slots() -> AsyncIterator[TapSlots]:
    with Arena(1 << 20) as arena:
        slots = await TapSlots.allocate(arena, (TAP,), "test", lambda tap, slot: None)
        yield slots
        slots.close()
        assert arena.in_use == 0


@pytest.fixture
def state(slots: TapSlots) -> SessionState:
    state = SessionState((TAP,), slots)
    for fields in (OPENED, TIMELINE):
        list(state.accept(message(fields)))
    return state


def test_true_messages_become_events(state: SessionState, slots: TapSlots) -> None:
    (batch,) = state.accept(message(BATCH))
    assert isinstance(batch, FrameBatch)
    assert [(row.index, row.row, row.same_as) for row in batch.rows] == [(0, 0, None), (1, None, 0), (2, 1, None)]
    assert not slots.may_lend(0, 1)
    assert batch.slot is not None
    batch.slot.release()
    assert slots.may_lend(0, 1)
    assert len(list(state.accept(message(ADVANCED)))) == 1
    assert len(list(state.accept(message(FINISHED)))) == 2


@pytest.mark.parametrize(
    ("base", "change"),
    [
        (OPENED, {"facts": [0, 48, 0, 1, 25, 8]}),
        (OPENED, {"facts": [64, 48, 45, 1, 25, 8]}),
        (OPENED, {"facts": [64, 48, 0, 1, 0, 8]}),
        (OPENED, {"codec": "<script>"}),
        (OPENED, {"decoder": "abacus"}),
        (OPENED, {"codec": "h264\u0660"}),
        (TIMELINE, {"first": 5, "pts": [7]}),
        (TIMELINE, {"first": 6, "pts": [5]}),
        (TIMELINE, {"first": 6, "pts": [9, 8]}),
        (TIMELINE, {"first": 6, "pts": [1 << 70]}),
        (TIMELINE, {"first": 6, "pts": ["7"]}),
        (TIMELINE, {"first": 6, "pts": [True]}),
        (BATCH, {"tap": 1}),
        (BATCH, {"tap": -1}),
        (BATCH, {"slot": 99}),
        (BATCH, {"slot": -1}),
        (BATCH, {"slot": 0.5}),
        (BATCH, {"through": 2}),
        (BATCH, {"through": 7}),
        (BATCH, {"rows": []}),
        (BATCH, {"rows": [[0, 1, 0, -1]]}),  # another frame's pts
        (BATCH, {"rows": [[6, 6, 0, -1]], "through": 6}),  # a frame that is not known
        (BATCH, {"rows": [[1, 1, 0, -1], [0, 0, 1, -1]]}),
        (BATCH, {"rows": [[0, 0, 4, -1]]}),
        (BATCH, {"rows": [[0, 0, 1, -1]]}),
        (BATCH, {"rows": [[0, 0, -1, 0]], "slot": -1}),  # repeats itself
        (BATCH, {"rows": [[0, 0, 0, -1], [1, 1, 1, -1], [2, 2, -1, 0]]}),  # repeats an older one
        (BATCH, {"rows": [[0, 0, 0, -1, 5]]}),
        (BATCH, {"ledger": [6, 3, 2, 0, 0, 0, 1, 0]}),
        (BATCH, {"ledger": [6, 3, 3, 0, 0, 0, -1, 0]}),
        (BATCH, {"counted": 9}),
        (ADVANCED, {"through": [7]}),
        (ADVANCED, {"through": []}),
        (FINISHED, {"frames": 7}),
        (FINISHED, {"end": 5}),
        (FINISHED, {"partial": 2}),
        (FINISHED, {"final": [6, 4, 3, 0, 0, 2, 1, 0]}),
        (FINISHED, {"final": None}),
        (FINISHED, {"t": "surprise"}),
    ],
)
def test_lies_are_refused(state: SessionState, slots: TapSlots, base: dict[str, Any], change: dict[str, Any]) -> None:
    free = slots.free
    with pytest.raises(ProtocolError):
        list(state.accept(message(base | change)))
    assert slots.free == free


def test_a_started_session_takes_one_picture_from_before_its_start(slots: TapSlots) -> None:
    """And tells its frames; more would be a lie."""
    mark = LedgerMark(4, Ledger(expected=4, decoded=4), None)
    state = SessionState((TAP,), slots, DecodeStart((3,), mark))
    assert state.mark == mark
    assert state.resume.begin == 3
    for fields in (OPENED, {**TIMELINE, "pts": [0, 1]}, {**ADVANCED, "through": [3], "counted": 4}):
        assert len(list(state.accept(message(fields)))) == (fields["t"] != "advanced")
    list(state.accept(message({**TIMELINE, "first": 2, "pts": [2, 3, 4, 5]})))
    rows = [[1, 1, 0, -1], [2, 2, -1, 1]]
    with pytest.raises(ProtocolError):
        list(state.accept(message(BATCH | {"rows": rows})))
    (batch,) = state.accept(message(BATCH | {"rows": [[1, 1, 0, -1], [3, 3, -1, 1]], "through": 4}))
    assert isinstance(batch, FrameBatch)
    assert [(row.index, row.same_as) for row in batch.rows] == [(1, None), (3, 1)]
    with pytest.raises(ProtocolError):
        list(state.accept(message(BATCH | {"rows": [[2, 2, 0, -1]], "slot": 0, "through": 4})))


def test_the_mark_lacks_what_only_the_end_tells(state: SessionState) -> None:
    """Else another session would add it twice."""
    list(state.accept(message(BATCH)))
    before = state.mark
    list(state.accept(message(FINISHED)))
    assert state.mark == before
    assert state.ledger.skipped == 3


def test_a_slot_is_lent_once(state: SessionState) -> None:
    list(state.accept(message(BATCH)))
    with pytest.raises(ProtocolError):
        list(state.accept(message(BATCH | {"rows": [[3, 3, 0, -1]], "through": 4})))


def test_nothing_comes_before_the_media_is_opened(slots: TapSlots) -> None:
    with pytest.raises(ProtocolError):
        list(SessionState((TAP,), slots).accept(message(TIMELINE)))


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"t":1}', b"\xff", b"[" * 90_000, b'{"t":"x","a":' + b"9" * 5000 + b"}"]
)
def test_broken_messages_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Message(data)


@pytest.mark.parametrize(("side", "slots"), [(16, 6), (512, 5), (1024, 2), (4096, 2)])
def test_slots_per_tap(side: int, slots: int) -> None:
    assert slots_per_tap(Tap(View(side, side), EVERY_FRAME, 4)) == slots
