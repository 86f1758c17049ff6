"""An analysis that goes on behind any of its segments says, to the last bit, what one that ran through says.

The decoder is the real one; the models are functions of the pictures.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import pytest_asyncio

from orchestrator.adapters.decoders.process import ProcessDecoder
from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.sources.path import PathSource
from orchestrator.analyzers.base import SampledOptions
from orchestrator.analyzers.keyframe import Keyframe
from orchestrator.analyzers.keyframe import Options as KeyframeOptions
from orchestrator.analyzers.labels import Labels
from orchestrator.analyzers.labels import Options as LabelsOptions
from orchestrator.analyzers.objects import Objects
from orchestrator.analyzers.objects import Options as ObjectsOptions
from orchestrator.analyzers.registry import Selection
from orchestrator.analyzers.shots import Options as ShotsOptions
from orchestrator.analyzers.shots import Shots
from orchestrator.analyzers.similarity import Similarity
from orchestrator.core.media import DecodeLimits, LedgerMark
from orchestrator.core.profiles import Profile
from orchestrator.pipeline.analysis import Analysis, Outcome
from tests.support.fakes import Events, FakeInference
from tests.support.resuming import EndingEarly, Point, Stopped, differences

pytestmark = pytest.mark.asyncio(loop_scope="module")

WIDTH, HEIGHT, FRAMES = 240, 160, 330
CUTS = (40, 290)
FADE = (176, 208)
PROFILE = Profile("t", "", 1_600_000_000, {"shots": {}})  # 40 frames, but the clock stumbles


def scene(number: int) -> np.ndarray:
    """A still picture of coarse blocks."""
    dice = np.random.default_rng(number)
    return dice.integers(0, 190, (HEIGHT // 20, WIDTH // 20, 3)).repeat(20, 0).repeat(20, 1)


def picture(at: int) -> np.ndarray:
    """Scenes cut and dissolved, before which a red and a green square move in jerks, and vanish now and then."""
    image = scene(1) if at < CUTS[0] else scene(2) if at < CUTS[1] else scene(3)
    if at >= FADE[0] and at < CUTS[1]:
        share = min(1.0, (at - FADE[0]) / (FADE[1] - FADE[0]))
        image = ((1 - share) * image + share * scene(4)).astype(int)
    moved = at // 12 * 7
    image = image.copy()
    if at % 70 < 60:
        x, y = moved * 2 % (WIDTH - 40), 20 + moved % 50
        image[y : y + 30, x : x + 30] = (255, 0, 0)
    if at > 20:
        x = WIDTH - 40 - moved * 3 % (WIDTH - 60)
        image[100:130, x : x + 30] = (0, 255, 0)
    return image.astype(np.uint8)


def write(path: Path) -> None:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"x264-params": "open-gop=1:keyint=32:min-keyint=32:bframes=3:scenecut=0", "crf": "18"}
        stream.codec_context.time_base = Fraction(1, 1000)
        pts = 0
        for at in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(picture(at), "rgb24")
            frame.pts, frame.time_base = pts, Fraction(1, 1000)
            pts += 40 if at % 9 else 55
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def cuts(frames: np.ndarray) -> dict[str, np.ndarray]:
    """High for as long as most of the picture changes; a little of where the window begins is in it."""
    thumbnails = frames[0].astype(np.float64)
    steps = np.median(np.abs(np.diff(thumbnails, axis=0, prepend=thumbnails[:1])), axis=(1, 2, 3))
    score = 1 - np.exp(-np.convolve(np.append(steps[1:], 0), [0.25, 0.5, 0.25], "same") / 1.8)
    return {"cut": (score + thumbnails[:25].mean() / 1e5).astype(np.float32)[None]}


def objects(frames: np.ndarray) -> dict[str, np.ndarray]:
    """The box around everything red, and around everything green."""
    boxes, scores, classes = (
        np.zeros((8, 2, 4), np.float32),
        np.zeros((8, 2), np.float32),
        np.full((8, 2), -1, np.int32),
    )
    for row, frame in enumerate(frames.astype(int)):
        for label in (0, 1):
            y, x = np.nonzero((frame[..., label] > 200) & (frame[..., 1 - label] < 80))
            if len(x) > 300:
                boxes[row, label] = np.array([x.min(), y.min(), x.max(), y.max()]) / 300
                scores[row, label], classes[row, label] = 0.3 + 0.7 * (frame.mean() * 7 % 1), label
    return {"boxes": boxes, "scores": scores, "classes": classes}


def labels(frames: np.ndarray) -> dict[str, np.ndarray]:
    mean = frames.reshape(8, -1, 3).mean(axis=1).astype(np.float32)
    order = np.argsort(-mean, axis=1).astype(np.int32)
    return {"classes": order, "scores": np.take_along_axis(mean, order, 1) / 255, "vector": mean}


def select() -> Selection:
    sampled = {"fps": 5.0}
    analyzers = (
        Keyframe(KeyframeOptions()),
        Labels(LabelsOptions(**sampled), ["red", "green", "blue"]),
        Similarity(SampledOptions(**sampled)),
        Objects(ObjectsOptions(fps=4.0), ["red", "green"]),
    )
    return Selection(Shots(ShotsOptions(gate_step=0.5, gate_jump=0.5, gate_drift=0.02)), analyzers)


class Bench:
    """A decoder, and the media."""

    def __init__(self, decoder: ProcessDecoder, path: Path) -> None:
        self.decoder, self.path = decoder, path

    async def run(self, log: Events, resume: Point | None = None, selection: Selection | None = None) -> Outcome:
        models = {"shots": (1, cuts), "objects": (8, objects), "labels": (8, labels)}
        inference = FakeInference(models, {"objects": (300, 300, 3), "labels": (224, 224, 3)})
        analysis = Analysis(self.decoder, inference, selection or select(), PROFILE, DecodeLimits(), log)
        with PathSource(self.path, [self.path.parent]) as source:
            return await asyncio.wait_for(analysis.run(source, resume), 60)


@asynccontextmanager
async def bench_on(path: Path) -> AsyncIterator[Bench]:
    with Arena(96 << 20) as arena:
        decoder = ProcessDecoder(arena, threads=2)
        yield Bench(decoder, path)
        await decoder.close()
        assert arena.in_use == 0, "every slot came home"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    path = tmp_path_factory.mktemp("resuming") / "media.mp4"
    write(path)
    async with bench_on(path) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole(bench: Bench) -> tuple[Events, Outcome]:
    log = Events()
    return log, await bench.run(log)


async def test_the_media_is_hard_enough(whole: tuple[Events, Outcome]) -> None:
    """Shots split for their length, a dissolve, tracks over several segments, pictures that repeat others."""
    segments = whole[0].segments
    starts = {each.interval.start_frame: each.annotations[0].value.starts_shot for each in segments}
    assert len(segments) >= 9
    assert sum(starts.values()) == 4
    assert {0, *CUTS} <= {frame for frame, starts_shot in starts.items() if starts_shot}
    assert any(FADE[0] < frame < FADE[1] and starts_shot for frame, starts_shot in starts.items())
    tracks = [{track.track_id for track in tracks_of(each)} for each in segments]
    assert sum(bool(one & other) for one, other in itertools.pairwise(tracks)) >= 4
    assert len(set().union(*tracks)) > 6
    reused = [annotation.frames_reused for each in segments for annotation in each.annotations]
    assert sum(map(bool, reused)) >= 4
    assert sum(each.thumbnail is not None for each in segments) >= len(segments) - 2
    assert {key.analyzer for key in whole[1].keys} == {"shots", "keyframe", "labels", "similarity", "objects"}


def tracks_of(segment: Any) -> Any:
    return next(each.value for each in segment.annotations if each.analyzer == "objects")


async def test_from_every_boundary_on_it_is_the_rest(bench: Bench, whole: tuple[Events, Outcome]) -> None:
    """The last included, behind which only the end is left to say."""
    for done, point in enumerate(whole[0].points, 1):
        log = Events()
        outcome = await bench.run(log, point)
        assert not differences(whole, (log, outcome), done), f"behind segment {done - 1}"
        assert outcome.finished.elapsed_ns > int(point[0].state["analysis"]["elapsed_ns"])  # type: ignore[index, call-overload]
        assert log[0] == whole[0][0]


async def test_attempts_that_end_early_add_up(bench: Bench, whole: tuple[Events, Outcome]) -> None:
    together, point, outcome = Events(), None, None
    while outcome is None:
        log = EndingEarly(3, point[1] if point else ())
        try:
            outcome = await bench.run(log, point)
        except Stopped:
            point = log.points[-1]
        together.extend(event for event in log if event not in together)
        together.points.extend(log.points)
    assert not differences(whole, (together, outcome), 0)


def wrong(point: Point, part: str) -> Point:
    """``point`` without one of its parts."""
    before, memos = point
    state: Any = copy.deepcopy(before.state)
    if part == "memos":
        return before, [{} for _ in memos]
    if part == "an earlier memo":
        return before, memos[-1:]
    if part == "ledger":
        return replace(before, ledger=LedgerMark()), memos
    if part == "next frame":
        return replace(before, next_frame=before.next_frame + 12), memos
    if part == "cut finder":
        state["shots"]["cuts"]["decided"] += 50
    elif part == "keys":
        state["analysis"]["keys"]["labels"] = "0" * 64
    elif part == "failed":
        state["analysis"]["failed"] = {"labels": "INTERNAL"}
    else:
        state["segmenter"][part] = 0
    return replace(before, state=state), memos


PARTS = ["memos", "an earlier memo", "ledger", "next frame", "cut finder", "keys", "failed"]


@pytest.mark.parametrize("part", [*PARTS, "index", "shot_index", "starts_shot"])
async def test_every_part_of_a_checkpoint_counts(bench: Bench, whole: tuple[Events, Outcome], part: str) -> None:
    """Negative control: in the middle of a shot that was split twice, with most of the media to come."""
    segments = whole[0].segments
    done = next(
        number
        for number, (one, two) in enumerate(itertools.pairwise(segments[1:]), 2)
        if not (one.annotations[0].value.starts_shot or two.annotations[0].value.starts_shot)
    )
    if part == "starts_shot":
        done = next(number for number, each in enumerate(segments) if number and each.annotations[0].value.starts_shot)
    log = Events()
    try:
        outcome = await bench.run(log, wrong(whole[0].points[done - 1], part))
    except (ValueError, IndexError):
        return  # it contradicts what is found
    assert differences(whole, (log, outcome), done)
