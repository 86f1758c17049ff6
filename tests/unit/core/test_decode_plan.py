"""The decode plan: indices, settling, units and feeds, against brute force on made-up streams."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.decode_plan import HOLD, HOLD_BYTES, MIN_UNIT, Feed, Packet, Planner, Step, Ticker
from orchestrator.core.sampling import EVERY_FRAME, Sampling

BASE = Fraction(1, 1000)


@dataclass(frozen=True)
class Coded:
    """A packet of a made-up stream: pts, dts, keyframe, and the numbers (in decode order) of the packets it needs."""

    pts: int
    dts: int
    key: bool
    needs: frozenset[int]


@st.composite
def streams(draw: st.DrawFn) -> list[Coded]:
    """GOPs of I (BBB P)*, some open: leading B pictures need the last reference of the GOP before."""
    gops = draw(st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=1, max_size=6))
    runs = draw(st.integers(0, 3))
    steps = draw(st.lists(st.integers(1, 90), min_size=1, max_size=5))
    order: list[tuple[int, bool, frozenset[int]]] = []  # display place, key, needs
    place, last = 0, None
    for number, (length, is_open) in enumerate(gops):
        leading = runs if is_open and number else 0
        key = len(order)
        order.append((place + leading, True, frozenset()))
        for b in range(leading):
            needs = {key, *([last] if last is not None else [])}
            order.append((place + b, False, frozenset(needs)))
        place += leading + 1
        last = key
        while place and length > 1:
            bees = min(runs, length - 2) if length > 2 else 0
            reference = len(order)
            order.append((place + bees, False, frozenset({last})))
            for b in range(bees):
                order.append((place + b, False, frozenset({last, reference})))
            place += bees + 1
            length -= bees + 1
            last = reference
    clock = [0]
    for i in range(place):
        clock.append(clock[-1] + steps[i % len(steps)])
    lag = runs + 1
    return [
        Coded(clock[shown], clock[n - lag] if n >= lag else clock[0] - lag + n, key, needs)
        for n, (shown, key, needs) in enumerate(order)
    ]


samplings = st.lists(
    st.one_of(
        st.just(EVERY_FRAME),
        st.builds(Sampling, st.none() | st.fractions(Fraction(1, 10), 40, max_denominator=100), st.booleans()),
    ),
    min_size=1,
    max_size=3,
    unique=True,
)


def plan(stream: list[Coded], taps: list[Sampling], flush_every: int = 0, begin: int = 0) -> list[Step]:
    planner = Planner(taps, BASE, 40, begin)
    steps = []
    for number, coded in enumerate(stream):
        steps.append(planner.add(Packet(number, coded.pts, coded.dts, coded.key)))
        if flush_every and number % flush_every == 0:
            steps.append(planner.flush())
    steps.append(planner.finish())
    assert planner.late == 0
    return [step for step in steps if step is not None]


def wanted_by_brute_force(stream: list[Coded], taps: list[Sampling]) -> dict[int, int]:
    """Index of each frame that some tap takes, to the taps' bits."""
    shown = sorted((coded.pts, coded.key) for coded in stream)
    out: dict[int, int] = {}
    for number, tap in enumerate(taps):
        before = None
        for index, (pts, key) in enumerate(shown):
            if key or not tap.keyframes:
                if tap.takes(pts, before, shown[0][0], BASE):
                    out[index] = out.get(index, 0) | 1 << number
                before = pts
    return out


@given(streams(), samplings, st.integers(0, 7))
@settings(max_examples=300, deadline=None)
def test_a_plan_decodes_exactly_what_is_wanted(stream: list[Coded], taps: list[Sampling], flush_every: int) -> None:
    steps = plan(stream, taps, flush_every)
    timeline: list[int] = []
    told: dict[int, int] = {}
    last_unit, through = -1, 0
    decoded: set[int] = set()
    ended: set[int] = set()
    for step in steps:
        assert step.first_index == len(timeline)
        timeline.extend(step.pts)
        for feed in step.feeds:
            assert feed.unit in (last_unit, last_unit + 1)
            assert feed.unit not in ended
            if feed.unit != last_unit:
                decoded = set()  # a unit stands alone
                assert last_unit < 0 or last_unit in ended
            last_unit = feed.unit
            for packet in feed.packets:
                number = packet.payload
                assert isinstance(number, int)
                if packet.restart:
                    decoded = set()
                if packet.wanted:
                    assert stream[number].needs <= decoded, "its references were decoded in this unit"
                    assert packet.index not in told
                    told[packet.index or 0] = packet.wanted
                    assert packet.index is not None
                    assert packet.index < len(timeline)
                    assert through <= packet.index < feed.through
                decoded.add(number)
            assert feed.through >= through
            through = feed.through
            if feed.last:
                ended.add(feed.unit)
    assert timeline == sorted(coded.pts for coded in stream)
    assert told == wanted_by_brute_force(stream, taps)
    assert through == len(timeline)
    assert last_unit in ended


@given(streams(), samplings)
@settings(max_examples=100, deadline=None)
def test_flushing_changes_no_decision(stream: list[Coded], taps: list[Sampling]) -> None:
    def frames(steps: list[Step]) -> list[tuple[int, int | None, int]]:
        return [(f.unit, p.index, p.wanted) for step in steps for f in step.feeds for p in f.packets if p.wanted]

    assert sorted(frames(plan(stream, taps))) == sorted(frames(plan(stream, taps, flush_every=1)))


@given(streams(), samplings, st.data())
@settings(max_examples=100, deadline=None)
def test_a_plan_that_begins_later_is_the_rest_of_the_whole(
    stream: list[Coded], taps: list[Sampling], data: st.DataObject
) -> None:
    """From the unit that holds the frame on: the same frames in the same units, wanted by the same taps, each with the
    frames that it needs. Nothing before."""

    def units(steps: list[Step]) -> dict[int, list[tuple[object, int | None, int]]]:
        wanted: dict[int, list[tuple[object, int | None, int]]] = {}
        decoded: dict[int, set[int]] = {}
        for feed in (feed for step in steps for feed in step.feeds):
            found = wanted.setdefault(feed.unit, [])
            for packet in feed.packets:
                assert isinstance(packet.payload, int)
                if packet.restart:
                    decoded[feed.unit] = set()
                before = decoded.setdefault(feed.unit, set())
                if packet.wanted:
                    assert stream[packet.payload].needs <= before
                    found.append((packet.payload, packet.index, packet.wanted))
                before.add(packet.payload)
        return wanted

    begin = data.draw(st.integers(0, len(stream)))
    whole, rest = units(plan(stream, taps)), units(plan(stream, taps, data.draw(st.integers(0, 7)), begin))
    assert whole.keys() == rest.keys()
    early = 0
    for unit, fed in whole.items():
        last = max((index for _, index, _ in fed if index is not None), default=-1)
        assert rest[unit] in ([], fed)
        assert rest[unit] or last < begin
        early += bool(rest[unit]) and last < begin
    assert early <= 1, "a unit that holds the frame, though none that is wanted behind it"


def test_a_long_gop_before_the_beginning_is_not_fed() -> None:
    out = feeds(Planner([EVERY_FRAME], BASE, begin=1900), packets(2000, 900))
    fed = [packet.payload for feed in out for packet in feed.packets]
    assert fed == list(range(1800, 2000))


def test_packets_that_may_be_needed_are_kept_up_to_a_limit() -> None:
    planner = Planner([EVERY_FRAME], BASE, begin=4000)
    held = most = 0
    for packet in packets(5000, 10_000):
        packet.size = HOLD_BYTES // 1000
        step = planner.add(packet)
        held = held + 1 - sum(len(feed.packets) for feed in step.feeds) if step else held + 1
        most = max(most, held)
    assert 1000 <= most <= 1040


@given(
    st.lists(st.integers(0, 200), min_size=1, max_size=60),
    st.fractions(Fraction(1, 10), 60, max_denominator=1001),
    st.sampled_from([Fraction(1, 90_000), Fraction(1001, 30_000), Fraction(1, 1000)]),
    st.integers(-500, 500),
)
def test_a_ticker_is_the_sampling(gaps: list[int], fps: Fraction, base: Fraction, start: int) -> None:
    sampling, ticker, pts, before = Sampling(fps), Ticker(Sampling(fps), start, base), start, None
    for gap in gaps:
        assert ticker.takes(pts) == sampling.takes(pts, before, start, base)
        before, pts = pts, pts + gap + 1


def packets(count: int, gop: int, step: int = 40) -> list[Packet]:
    return [Packet(n, n * step, n * step, n % gop == 0) for n in range(count)]


def feeds(planner: Planner, stream: list[Packet]) -> list[Feed]:
    steps = [planner.add(packet) for packet in stream] + [planner.finish()]
    return [feed for step in steps if step is not None for feed in step.feeds]


def test_gops_nobody_wants_are_not_fed() -> None:
    out = feeds(Planner([Sampling(Fraction(1, 2))], BASE), packets(100, 10))
    assert [p.payload for feed in out for p in feed.packets] == [0, 50]
    assert [feed.through for feed in out if feed.last][-1] == 100


def test_what_follows_the_last_wanted_frame_is_not_fed() -> None:
    out = feeds(Planner([Sampling(Fraction(2))], BASE), packets(48, 24))
    assert [p.payload for feed in out for p in feed.packets] == [*range(14), *range(24, 39)]


def test_intra_only_streams_restart_at_each_wanted_frame() -> None:
    out = feeds(Planner([Sampling(Fraction(5))], BASE), packets(30, 1))
    fed = [p for feed in out for p in feed.packets]
    assert [p.payload for p in fed] == [0, 5, 10, 15, 20, 25]
    assert all(p.wanted for p in fed)
    assert len({feed.unit for feed in out}) == -(-30 // MIN_UNIT)


def test_a_gop_without_end_is_fed_in_pieces() -> None:
    planner = Planner([EVERY_FRAME], BASE)
    held = most = 0
    for packet in packets(2000, 10_000):
        step = planner.add(packet)
        held = held + 1 - sum(len(feed.packets) for feed in step.feeds) if step else held + 1
        most = max(most, held)
    assert most < 40


def test_unwanted_packets_of_a_gop_without_end_are_not_kept_for_ever() -> None:
    planner = Planner([Sampling(Fraction(1, 1000))], BASE)
    held = most = 0
    for packet in packets(5000, 10_000):
        step = planner.add(packet)
        held = held + 1 - sum(len(feed.packets) for feed in step.feeds) if step else held + 1
        most = max(most, held)
    assert most <= HOLD + 40


@pytest.mark.parametrize(
    ("pts", "timeline", "late"),
    [
        ([0, 40, 40, 80], [0, 40, 80], 1),  # a duplicate
        ([0, 0, 0, 0], [0], 3),  # a clock that stands
        ([1000, 1040, 0, 40, 1080], [1000, 1040, 1080], 0),  # before the first keyframe: not displayed
        ([-80, -40, 0, 40], [-80, -40, 0, 40], 0),
    ],
)
def test_clocks_that_do_not_rise(pts: list[int], timeline: list[int], late: int) -> None:
    planner = Planner([EVERY_FRAME], BASE)
    shown: list[int] = []
    steps = [planner.add(Packet(n, at, None, n == 0)) for n, at in enumerate(pts)] + [planner.finish()]
    for step in steps:
        shown.extend(step.pts if step else ())
    assert shown == timeline
    assert planner.late == late
    assert planner.frames + planner.late + planner.not_shown == len(pts)


def test_packets_without_times_follow_a_synthetic_clock() -> None:
    planner = Planner([EVERY_FRAME], BASE, step=40)
    shown: list[int] = []
    for step in [planner.add(Packet(n, None, None, n == 0)) for n in range(5)] + [planner.finish()]:
        shown.extend(step.pts if step else ())
    assert shown == [40, 80, 120, 160, 200]


def test_packets_before_the_first_keyframe_are_left_out() -> None:
    planner = Planner([EVERY_FRAME], BASE)
    out = feeds(planner, [Packet(n, n * 40, n * 40, n == 3) for n in range(6)])
    assert [(p.payload, p.index) for feed in out for p in feed.packets] == [(3, 0), (4, 1), (5, 2)]
    assert planner.not_shown == 3


def test_hidden_packets_are_decoded_but_not_counted() -> None:
    planner = Planner([EVERY_FRAME], BASE)
    stream = [Packet(n, n * 40, n * 40, n == 0, shown=n >= 2) for n in range(5)]
    out = feeds(planner, stream)
    assert [(p.payload, p.index) for feed in out for p in feed.packets] == [
        (0, None),
        (1, None),
        (2, 0),
        (3, 1),
        (4, 2),
    ]
