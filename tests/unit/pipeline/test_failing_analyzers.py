"""One analyzer that fails leaves the others at work; what it had answered by then stays."""

import asyncio
from dataclasses import replace

import pytest

from orchestrator.analyzers.registry import Selection
from orchestrator.core.media import DecodeLimits
from orchestrator.core.profiles import Profile
from orchestrator.errors import InferenceUnavailable, InternalError, ResourceExhausted, SetupError
from orchestrator.pipeline.analysis import Analysis
from tests.support.fakes import Events, FakeInference, ScriptedDecoder
from tests.unit.pipeline.test_analysis import Grays, gray, inference, script

PROFILE = Profile("t", "", 1_000_000_000, {"grays": {}})


class Failing(Grays):
    """Raises ``error`` at picture ``at``, or when it is opened or sums up the third segment."""

    name = "failing"

    def __init__(self, error: Exception, where: str = "analyze", at: int = 40):
        self.error, self.where, self.at, self.asked = error, where, at, 0

    def open(self, media):
        if self.where == "open":
            raise self.error

    async def analyze(self, pictures):
        self.asked += 1
        short = self.where == "short" and self.asked == 5
        if self.where == "analyze" and any(row.index >= self.at for row in pictures.rows):
            raise self.error
        return (await super().analyze(pictures))[: 0 if short else None]

    def close(self, segment, seen):
        if self.where == "close" and segment.index == 2:
            raise self.error
        return super().close(segment, seen)


async def run(*analyzers, model=None, resume=None):
    slots: list = []
    out = Events()
    decoder = ScriptedDecoder(script(slots))
    analysis = Analysis(decoder, model or inference(), Selection(None, analyzers), PROFILE, DecodeLimits(), out)
    outcome = await asyncio.wait_for(analysis.run(None, resume), 20)
    await asyncio.sleep(0.01)
    assert all(slot.holders == 0 for slot in slots)
    return out, outcome


def answered(out, name):
    return [s.index for s in out.segments if name in [annotation.analyzer for annotation in s.annotations]]


@pytest.mark.parametrize(("where", "segments"), [("analyze", [0]), ("open", []), ("close", [0, 1]), ("short", [])])
async def test_the_others_go_on(where, segments):
    out, outcome = await run(Failing(ValueError("hostile"), where), Grays())
    assert answered(out, "failing") == segments
    assert answered(out, "grays") == [0, 1, 2, 3]
    assert outcome.finished.failed_analyzers == (("failing", "INTERNAL"),)
    assert [key.analyzer for key in outcome.keys] == ["grays"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (SetupError("a part is missing"), "SETUP_INCOMPLETE"),
        (InternalError("the model refuses"), "INTERNAL"),
        (ResourceExhausted("no"), "RESOURCE_EXHAUSTED"),
    ],
)
async def test_the_reason_is_the_errors(error, reason):
    _, outcome = await run(Failing(error), Grays())
    assert outcome.finished.failed_analyzers == (("failing", reason),)


async def test_when_all_fail_the_segments_are_told_all_the_same():
    out, outcome = await run(Failing(ValueError(), "analyze", 0))
    assert [s.annotations for s in out.segments] == [()] * 4
    assert outcome.finished.segments == 4
    assert outcome.keys == ()


async def test_what_a_retry_may_cure_ends_the_attempt():
    with pytest.raises(InferenceUnavailable):
        await run(Failing(InferenceUnavailable("gone")), Grays())


async def test_who_failed_is_not_asked_again_by_the_next_attempt():
    out, outcome = await run(Failing(ValueError("hostile")), Grays())
    for done, point in enumerate(out.points, 1):
        later = Failing(AssertionError("never asked"))
        rest, end = await run(later, Grays(), resume=point)
        failed_before = done >= 2
        assert (later.asked == 0) == failed_before
        assert rest.segments == out.segments[done:]
        assert end.finished.failed_analyzers == outcome.finished.failed_analyzers
        assert end.keys == outcome.keys


async def test_a_model_that_changes_on_the_way_costs_the_key():
    model = FakeInference({"gray": (4, gray)}, {"gray": (8, 8, 3)})
    digests = iter(["a" * 64] * 3 + ["b" * 64] * 20)
    version = model.version

    def changing(name):
        return replace(version(name), digest=next(digests))

    model.version = changing
    _, outcome = await run(Grays(), model=model)
    assert outcome.keys == ()


async def test_an_analyzer_that_tells_no_revision_has_no_key():
    class Foreign(Grays):
        name = "foreign"
        revision = property()

    out, outcome = await run(Foreign(), Grays())
    assert answered(out, "foreign") == [0, 1, 2, 3]
    assert [key.analyzer for key in outcome.keys] == ["grays"]
