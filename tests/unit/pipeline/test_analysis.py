"""The flow of one analysis, with scripted parts: order, near-duplicates, slots that come home, failures."""

import asyncio
import random
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest

from orchestrator.analyzers.base import SampledOptions
from orchestrator.analyzers.registry import Selection
from orchestrator.analyzers.shots import BATCH as SHOT_BATCH
from orchestrator.analyzers.shots import Options, Shots
from orchestrator.core.frames import Tap, View
from orchestrator.core.media import DecodeLimits, Ledger
from orchestrator.core.profiles import Profile
from orchestrator.core.results import Finished, LabelScore, SegmentClosed, Started
from orchestrator.core.sampling import EVERY_FRAME, Sampling
from orchestrator.errors import InferenceUnavailable, MediaUnreadable
from orchestrator.pipeline.analysis import Analysis
from orchestrator.ports import DecodeFinished, MediaOpened, TapAdvanced, TimelineGrew
from tests.support.fakes import Events, FakeInference, ScriptedDecoder, batch, media

VIEW = View(8, 8)
GRAY = Tap(VIEW, Sampling(Fraction(25)), 4)
FRAMES = 100


class Grays:
    """Reports the gray of every picture it is shown."""

    name, models, tap, revision, options = "grays", ("gray",), GRAY, 1, SampledOptions()

    def open(self, media):
        pass

    async def analyze(self, pictures) -> Sequence[float]:
        return (await pictures.infer("gray"))["level"].tolist()

    def close(self, segment, seen):
        return tuple(LabelScore(str(o.value), float(o.reused), 0.0, o.at) for o in seen)


def gray(frames):
    return {"level": frames[:, 0, 0, 0].astype(np.int32)}


def inference(rows=4, **options):
    return FakeInference({"gray": (rows, gray), "shots": (1, cuts)}, {"gray": (8, 8, 3)}, **options)


def cuts(frames):
    """A cut before every frame that is brighter than its neighbour by far."""
    levels = frames[0, :, 0, 0, 0].astype(int)
    return {"cut": (np.abs(np.diff(levels, append=levels[-1])) > 50).astype(np.float32)[None]}


def script(slots: list) -> list:
    """100 frames in batches of 4; frames 3, 7, 11... repeat the one before."""
    events: list = [MediaOpened(media()), TimelineGrew(0, tuple(range(0, FRAMES * 40, 40)))]
    for start in range(0, FRAMES, 4):
        events.append(batch(GRAY, range(start, start + 4), start + 4, same={start + 3: start + 2}))
        slots.append(events[-1].slot)
    events += [TapAdvanced(GRAY, FRAMES), DecodeFinished(Ledger(FRAMES, FRAMES, FRAMES), FRAMES * 40)]
    return events


async def run(events, inference, *, shots=None, analyzers=None, failure=None) -> tuple[Events, ScriptedDecoder]:
    out = Events()
    decoder = ScriptedDecoder(events, failure)
    selection = Selection(shots, (Grays(),) if analyzers is None else analyzers)
    analysis = Analysis(
        decoder, inference, selection, Profile("t", "", 1_000_000_000, {"grays": {}}), DecodeLimits(), out
    )
    out.append((await asyncio.wait_for(analysis.run(None), 20)).finished)
    return out, decoder


def seen(out: Events) -> list[int]:
    return [
        int(v.label)
        for e in out.of(SegmentClosed)
        for a in e.segment.annotations
        if a.analyzer == "grays"
        for v in a.value
    ]


async def test_every_frame_is_answered_in_order_and_slots_come_home():
    slots: list = []
    model = inference(delay=lambda: random.random() / 200)
    out, _ = await run(script(slots), model)
    assert seen(out) == [i - 1 if i % 4 == 3 else i for i in range(FRAMES)]
    assert all(slot.holders == 0 for slot in slots)
    assert isinstance(out[0], Started)
    assert isinstance(out[-1], Finished)
    segments = [e.segment for e in out.of(SegmentClosed)]
    assert [(s.interval.start_frame, s.interval.end_frame) for s in segments] == [
        (0, 25),
        (25, 50),
        (50, 75),
        (75, 100),
    ]
    assert [s.final for s in segments] == [False, False, False, True]
    assert [s.annotations[0].frames_reused for s in segments] == [6, 6, 6, 7]
    assert model.requests == ["gray"] * 25


async def test_a_model_asked_by_two_analyzers_runs_once():
    class More(Grays):
        name = "more"

    model = inference()
    await run(script([]), model, analyzers=(Grays(), More()))
    assert model.requests == ["gray"] * 25


async def test_small_requests_skip_rows_nobody_needs():
    model = inference(rows=1)
    out, _ = await run(script([]), model)
    assert seen(out) == [i - 1 if i % 4 == 3 else i for i in range(FRAMES)]
    assert model.requests == ["gray"] * 75


@pytest.mark.parametrize(("sure", "inferred", "quiet", "plain"), [(0.0, 2, 2, 0), (20.0, 0, 3, 1)])
async def test_shots_cut_segments_and_the_gate_spares_windows(sure, inferred, quiet, plain):
    tap = Shots.tap
    level = lambda i: 200 if i >= 160 else 100
    events: list = [MediaOpened(media()), TimelineGrew(0, tuple(range(0, 8000, 40)))]
    slots = []
    for start in range(0, 200, SHOT_BATCH):
        events.append(batch(tap, range(start, start + SHOT_BATCH), start + SHOT_BATCH, level))
        slots.append(events[-1].slot)
    events.append(DecodeFinished(Ledger(200, 200, 200), 8000))
    model, shots = inference(), Shots(Options(gate_sure=sure))
    out = Events()
    profile = Profile("t", "", 60_000_000_000, {"shots": {}})
    await Analysis(ScriptedDecoder(events), model, Selection(shots, ()), profile, DecodeLimits(), out).run(None)
    segments = [e.segment for e in out.of(SegmentClosed)]
    assert [(s.interval.start_frame, s.interval.end_frame) for s in segments] == [(0, 160), (160, 200)]
    assert [s.annotations[0].value.score for s in segments] == [1.0, 1.0]
    assert (shots.windows_inferred, shots.windows_quiet, shots.windows_plain) == (inferred, quiet, plain)
    assert all(slot.holders == 0 for slot in slots)


async def test_missing_frames_do_not_shift_shots():
    """Frames 40..49 were corrupt: their thumbnails never come, later ones keep their place."""
    tap = Tap(View(48, 27), EVERY_FRAME, SHOT_BATCH, host=True)
    events: list = [MediaOpened(media()), TimelineGrew(0, tuple(range(0, 4000, 40)))]
    good = [i for i in range(100) if not 40 <= i < 50]
    for start in range(0, 90, SHOT_BATCH):
        part = good[start : start + SHOT_BATCH]
        events.append(batch(tap, part, part[-1] + 1, lambda i: 200 if i >= 60 else 100))
    events.append(DecodeFinished(Ledger(100, 100, 90, 10), 4000, partial=True, first_bad_pts=1600))
    out = Events()
    profile = Profile("t", "", 60_000_000_000, {"shots": {}})
    selection = Selection(Shots(Options()), ())
    analysis = Analysis(ScriptedDecoder(events), inference(), selection, profile, DecodeLimits(), out)
    outcome = await analysis.run(None)
    assert [e.segment.interval.start_frame for e in out.of(SegmentClosed)] == [0, 60]
    assert outcome.finished.partial
    # The next attempt would need the window behind the second core from the last good frame before it on.
    assert out.points[0][0].state["shots"]["first"] in (0, 75)


@pytest.mark.parametrize("place", [0, 1, 5])
async def test_a_decoder_failure_is_raised_as_it_is(place):
    with pytest.raises(MediaUnreadable):
        await run(script([])[:place], inference(), failure=MediaUnreadable("no frame could be decoded"))


async def test_a_model_failure_ends_the_analysis_and_frees_slots():
    slots: list = []
    answered = 0

    def fail(frames):
        nonlocal answered
        answered += 1
        if answered > 5:
            raise InferenceUnavailable("the model is gone")
        return gray(frames)

    model = FakeInference({"gray": (4, fail)}, {"gray": (8, 8, 3)})
    events = script(slots)
    with pytest.raises(InferenceUnavailable):
        await run(events, model)
    await asyncio.sleep(0.05)
    dispatched = [slot for slot in slots if slot.holders == 0]
    assert len(dispatched) >= 6


async def test_someone_who_waits_hurries_the_decoder():
    events = script([])
    held = events[8:-1]
    del events[8:-1]
    out = Events()
    decoder = ScriptedDecoder(events[:-1])
    analysis = Analysis(
        decoder,
        inference(),
        Selection(None, (Grays(),)),
        Profile("t", "", 1_000_000_000, {"g": {}}),
        DecodeLimits(),
        out,
    )

    async def events_then_wait():
        for event in events[:-1]:
            yield event
        while not decoder.hurried or max(decoder.hurried) < 50:
            await asyncio.sleep(0.01)
            for event in held[:7]:
                yield event
            held[:7] = []
        for event in held:
            yield event
        yield events[-1]

    decoder.events = events_then_wait
    await asyncio.wait_for(analysis.run(None), 20)
    assert decoder.hurried[:2] == [25, 50]


async def test_a_shot_is_found_while_no_byte_arrives():
    """The answer to the last window asked is taken when it comes, not when more thumbnails do."""
    found: list[tuple[list, int]] = []
    shots = Shots(Options(gate_sure=0.0))
    model = inference(delay=lambda: 0.05)
    for start in range(0, 75, SHOT_BATCH):
        thumbnails = batch(Shots.tap, range(start, start + SHOT_BATCH), start + SHOT_BATCH, lambda i: 200 * (i >= 30))
        await shots.feed(thumbnails, model, lambda cuts, settled: found.append((cuts, settled)))
    assert found == []
    await asyncio.sleep(0.2)
    assert [(cut.frame, settled) for cuts, settled in found for cut in cuts] == [(30, 50)]


async def test_a_failed_window_is_raised():
    def fail(frames):
        raise InferenceUnavailable("the model is gone")

    model = FakeInference({"shots": (1, fail)})
    shots = Shots(Options(gate_sure=0.0))
    for start in range(0, 75, SHOT_BATCH):
        thumbnails = batch(Shots.tap, range(start, start + SHOT_BATCH), start + SHOT_BATCH, lambda i: 200 * (i >= 30))
        await shots.feed(thumbnails, model, lambda cuts, settled: None)
    with pytest.raises(InferenceUnavailable):
        await shots.finish(75, model, lambda cuts, settled: None)
