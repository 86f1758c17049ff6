"""Answers of an earlier analysis are taken over, and only the rest is computed."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from orchestrator.analyzers.registry import Selection
from orchestrator.analyzers.shots import BATCH, Options, Shots
from orchestrator.core.jobs import ReusePlan
from orchestrator.core.media import DecodeLimits, Ledger
from orchestrator.core.profiles import Profile
from orchestrator.core.results import Started, Thumbnail
from orchestrator.pipeline.analysis import Analysis, Known
from orchestrator.pipeline.keys import keys_of
from orchestrator.ports import DecodeFinished, MediaOpened, TapAdvanced, TimelineGrew
from tests.support.fakes import Events, FakeInference, ScriptedDecoder, batch, media
from tests.unit.pipeline.test_analysis import GRAY, Grays, cuts, gray

FRAMES = 200
PROFILE = Profile("t", "", 2_000_000_000, {"shots": {}, "keyframe": {}, "grays": {}, "more": {}})


class Keyframe(Grays):
    """A thumbnail of a kind."""

    name, models = "keyframe", ()

    async def analyze(self, pictures):
        return [int(picture[0, 0, 0]) for picture in pictures.pictures]

    def close(self, segment, seen):
        return Thumbnail(bytes([seen[0].value]), seen[0].at, 8, 8)


class More(Grays):
    name = "more"


def level(index: int) -> int:
    return 200 if index >= 70 else index


class Decoder(ScriptedDecoder):
    """Plays what the taps that are asked for want, from their first frames on; counts its sessions."""

    def __init__(self):
        super().__init__(())
        self.opened: list = []

    def open(self, source, request):
        self.opened.append(request)
        self.script = [MediaOpened(media()), TimelineGrew(0, tuple(range(0, FRAMES * 40, 40)))]
        for number, tap in enumerate(request.taps):
            size = BATCH if tap == Shots.tap else 4
            first = request.start.first[number] if request.start else 0
            for start in range(first, FRAMES, size):
                end = min(FRAMES, start + size)
                self.script.append(batch(tap, range(start, end), end, level))
            self.script.append(TapAdvanced(tap, FRAMES))
        self.script.append(DecodeFinished(Ledger(FRAMES, FRAMES, FRAMES), FRAMES * 40))
        return super().open(source, request)


def select(*names: str) -> Selection:
    made = {"keyframe": Keyframe(), "grays": Grays(), "more": More()}
    return Selection(Shots(Options()) if "shots" in names else None, tuple(made[n] for n in made if n in names))


ALL = ("shots", "keyframe", "grays", "more")


async def run(known=None, resume=None, names=ALL, models=("gray", "shots")):
    both = {"gray": (4, gray), "shots": (1, cuts)}
    model = FakeInference({name: both[name] for name in models}, {"gray": (8, 8, 3)})
    out, decoder = Events(), Decoder()
    analysis = Analysis(decoder, model, select(*names), PROFILE, DecodeLimits(), out)
    outcome = await asyncio.wait_for(analysis.run(None, resume, known), 20)
    return out, outcome, decoder, model


async def earlier(names=ALL):
    out, outcome, _, _ = await run(names=names)
    return Known(ReusePlan("old", ALL), tuple(out.segments), out[0].media, outcome.finished), outcome


def marked(known: Known) -> Known:
    """Its answers, made unlike anything that is computed here."""
    at = replace(known.segments[0].annotations[0].value, score=0.125)

    def mark(segment):
        annotations = tuple(
            replace(each, frames_reused=77, value=at if each.analyzer == "shots" and segment.index == 0 else each.value)
            for each in segment.annotations
        )
        return replace(segment, annotations=annotations, thumbnail=replace(segment.thumbnail, jpeg=b"old"))

    return replace(known, segments=tuple(map(mark, known.segments)))


def taking(known: Known, *names: str) -> Known:
    return replace(known, plan=ReusePlan("old", names))


async def test_when_everything_is_known_nothing_is_opened_or_asked():
    known, before = await earlier()
    known = marked(known)
    out, outcome, decoder, model = await run(known, models=())
    assert decoder.opened == []
    assert model.requests == []
    assert out[0] == Started(known.media, "t", ALL, ALL, "old")
    assert tuple(out.segments) == known.segments
    assert replace(outcome.finished, elapsed_ns=0) == replace(before.finished, elapsed_ns=0)
    assert outcome.keys == before.keys


async def test_what_is_not_known_runs_alone_over_the_known_segments():
    known, before = await earlier()
    fresh = known.segments
    known = taking(marked(known), "shots", "keyframe", "more")
    out, outcome, decoder, model = await run(known, models=("gray",))
    assert [request.taps for request in decoder.opened] == [(GRAY,)]
    assert set(model.requests) == {"gray"}
    assert (out[0].reused, out[0].reused_from) == (("shots", "keyframe", "more"), "old")
    assert len(out.segments) == len(known.segments) > 3
    for segment, old, new in zip(out.segments, known.segments, fresh, strict=True):
        assert [each.analyzer for each in segment.annotations] == ["shots", "grays", "more"]
        assert segment.annotations[0::2] == old.annotations[0::2]
        assert segment.annotations[1] == new.annotations[1]
        assert (segment.interval, segment.final) == (old.interval, old.final)
        assert segment.thumbnail.jpeg == b"old"
    assert outcome.keys == before.keys
    assert outcome.finished.segments == len(known.segments)


async def test_thumbnails_are_computed_again_where_they_are_not_taken_over():
    known, _ = await earlier()
    out, *_ = await run(taking(marked(known), "shots", "grays", "more"), models=())
    assert [s.thumbnail for s in out.segments] == [s.thumbnail for s in known.segments]
    assert all(each.frames_reused == 77 for s in out.segments for each in s.annotations)


async def test_who_computes_the_shots_again_computes_everything_again():
    known, before = await earlier()
    out, outcome, _, _ = await run(taking(marked(known), "keyframe", "grays", "more"))
    assert tuple(out.segments) == known.segments
    assert (out[0].reused, out[0].reused_from) == ((), "")
    assert outcome.keys == before.keys


async def test_what_nobody_asks_for_is_not_told():
    known, _ = await earlier()
    out, *_ = await run(marked(known), names=("shots", "grays"), models=())
    assert all([each.analyzer for each in s.annotations] == ["shots", "grays"] for s in out.segments)
    assert all(s.thumbnail is None for s in out.segments)
    assert out[0].reused == ("shots", "grays")


async def test_segments_cut_by_length_alone_are_known_too():
    names = ("keyframe", "grays")
    known, _ = await earlier(names)
    known = taking(marked_without_shots(known), "keyframe")
    out, *_ = await run(known, names=names, models=("gray",))
    assert len(out.segments) == 4
    assert [s.interval for s in out.segments] == [s.interval for s in known.segments]
    assert all(s.thumbnail.jpeg == b"old" for s in out.segments)


def marked_without_shots(known: Known) -> Known:
    return replace(
        known,
        segments=tuple(replace(s, thumbnail=replace(s.thumbnail, jpeg=b"old")) for s in known.segments),
    )


@pytest.mark.parametrize("taken", [("shots", "keyframe", "more"), ALL])
async def test_it_goes_on_behind_any_segment(taken):
    known, _ = await earlier()
    known = taking(marked(known), *taken)
    whole, end, *_ = await run(known)
    for done, point in enumerate(whole.points, 1):
        rest, outcome, decoder, _ = await run(known, point)
        assert rest.segments == whole.segments[done:]
        assert outcome.keys == end.keys
        assert rest[0] == whole[0]
        if decoder.opened:
            assert decoder.opened[0].start.first == (whole.segments[done - 1].interval.end_frame,)


async def test_when_the_earlier_analysis_is_gone_the_rest_is_computed():
    known, before = await earlier()
    begun, *_ = await run(taking(marked(known), "shots", "keyframe", "more"))
    rest, outcome, decoder, _ = await run(None, begun.points[1])
    assert decoder.opened[0].start is None
    assert rest.segments == list(known.segments[2:])
    assert outcome.finished.segments == before.finished.segments


async def test_keys_name_the_models_and_settings():
    model = FakeInference({})
    keys = {key.analyzer: key.key for key in keys_of(PROFILE, select(*ALL), model)}
    assert set(keys) == set(ALL)
    longer = {key.analyzer: key.key for key in keys_of(replace(PROFILE, max_segment_ns=10**10), select(*ALL), model)}
    bare = {key.analyzer: key.key for key in keys_of(PROFILE, select("grays"), model)}
    assert all(longer[name] != key for name, key in keys.items()), "answers are summed up per segment"
    assert bare["grays"] != keys["grays"]
    assert np.unique(list(keys.values())).size == 4
