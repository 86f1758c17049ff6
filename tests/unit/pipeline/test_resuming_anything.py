"""Made-up media, lost frames and slow models: behind every segment the rest is the same."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.analyzers.registry import Selection
from orchestrator.analyzers.shots import BATCH, Options, Shots
from orchestrator.core.media import DecodeLimits, Ledger
from orchestrator.core.profiles import Profile
from orchestrator.pipeline.analysis import Analysis
from orchestrator.ports import DecodeFinished, MediaOpened, TapAdvanced, TimelineGrew
from tests.support.fakes import Events, FakeInference, ScriptedDecoder, batch, media
from tests.support.resuming import Point, differences
from tests.unit.analyzers.test_shots_state import answers, scenes
from tests.unit.pipeline.test_analysis import GRAY, Grays, gray


class Decoder(ScriptedDecoder):
    """Flat pictures in the order of time, tap beside tap; every third frame repeats the one before."""

    def __init__(self, levels: Sequence[int], lost: set[int], portion: int) -> None:
        super().__init__(())
        self.levels, self.lost, self.portion = levels, lost, portion

    def open(self, source: Any, request: Any) -> Any:
        frames, first = len(self.levels), request.start.first if request.start else (0,) * len(request.taps)
        self.script = [MediaOpened(media())]
        for start in range(0, frames, self.portion):
            end = min(frames, start + self.portion)
            self.script.append(TimelineGrew(start, tuple(range(start * 40, end * 40, 40))))
            for number, tap in enumerate(request.taps):
                begin = first[number]
                frames_of_tap = [i for i in range(max(start, begin), end) if i not in self.lost]
                if start <= begin < end and tap is GRAY and begin in self._same(frames_of_tap):
                    frames_of_tap.insert(0, begin - 1)  # brought along
                for at in range(0, len(frames_of_tap), tap.batch):
                    shown = frames_of_tap[at : at + tap.batch]
                    same = self._same(shown) if tap is GRAY else {}
                    same.pop(begin - 1, None)
                    through = max(begin, shown[-1] + 1)
                    self.script.append(batch(tap, shown, through, lambda i: self.levels[i], same))
                if end > first[number]:
                    self.script.append(TapAdvanced(tap, end))
        whole = frames - len(self.lost)
        assert whole > 0
        self.script.append(DecodeFinished(Ledger(frames, frames, whole, len(self.lost)), frames * 40))
        return super().open(source, request)

    def _same(self, frames: Sequence[int]) -> dict[int, int]:
        return {i: i - 1 for i in frames if i % 3 == 2 and i - 1 not in self.lost}


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_behind_every_segment_the_rest_is_the_same(data):
    levels = scenes(data.draw)[:260]
    gaps = data.draw(st.lists(st.tuples(st.integers(1, len(levels)), st.integers(1, 40)), max_size=2))
    lost = {i for start, length in gaps for i in range(start, min(len(levels), start + length))}
    profile = Profile("t", "", data.draw(st.integers(1000, 4000)) * 1_000_000, {"shots": {}})
    delays = data.draw(st.lists(st.sampled_from([0.0, 0.002]), max_size=6))
    portion = data.draw(st.sampled_from([BATCH, 70, 500]))

    async def run(resume: Point | None = None, delays: Sequence[float] = ()):
        shots = answers(delays)
        models = {"gray": (4, gray), "shots": shots.models["shots"]}
        inference = FakeInference(models, {"gray": (8, 8, 3)}, delay=shots.delay)
        selection = Selection(Shots(Options(gate_step=0.0, gate_jump=0.0, gate_drift=0.0)), (Grays(),))
        log = Events()
        analysis = Analysis(Decoder(levels, lost, portion), inference, selection, profile, DecodeLimits(), log)
        return log, await asyncio.wait_for(analysis.run(None, resume), 20)

    async def check():
        whole = await run(delays=delays)
        assert whole[0].segments[-1].interval.end_frame == len(levels)
        for done, point in enumerate(whole[0].points, 1):
            assert not differences(whole, await run(point), done), f"behind segment {done - 1}"

    asyncio.run(check())


def test_the_decoder_of_these_tests_tells_each_frame_once():
    """And the media that it makes up is cut: else there would be nothing to resume."""

    async def run():
        shots, cuts = Shots(Options()), []
        decoder = Decoder([10] * 60 + [200] * 60, {5, 6}, 25)
        async with decoder.open(None, type("Request", (), {"taps": (shots.tap, GRAY), "start": None})()) as session:
            rows = {GRAY: [], shots.tap: []}
            async for event in session.events():
                if hasattr(event, "rows"):
                    rows[event.tap] += [row.index for row in event.rows]
                    if event.tap == shots.tap:
                        await shots.feed(event, answers(()), lambda new, settled: cuts.extend(new))
        await shots.finish(120, answers(()), lambda new, settled: cuts.extend(new))
        return rows, cuts

    rows, cuts = asyncio.run(run())
    assert all(indices == [i for i in range(120) if i not in (5, 6)] for indices in rows.values())
    assert [cut.frame for cut in cuts] == [pytest.approx(60, abs=2)]
