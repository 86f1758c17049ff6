"""A whole service with a real store and scripted media, and helpers to watch it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.sources.sources import Sources
from orchestrator.adapters.stores.sql import open_store
from orchestrator.analyzers.base import SampledOptions
from orchestrator.analyzers.registry import Selection
from orchestrator.core.frames import Tap, View
from orchestrator.core.jobs import AnalysisRecord, AnalysisSpec, AnalysisState, SourceKind, SourceRef
from orchestrator.core.media import DecodeLimits, Ledger
from orchestrator.core.profiles import Profile
from orchestrator.core.results import Finished, LabelScore, Progress, SegmentClosed, Started
from orchestrator.core.sampling import EVERY_FRAME
from orchestrator.pipeline import attempt, estimating, runner, service
from orchestrator.pipeline.attempt import Parts
from orchestrator.pipeline.disk import DiskGuard
from orchestrator.pipeline.service import AnalysisService, ServiceLimits
from orchestrator.ports import DecodeFinished, MediaOpened, TapAdvanced, TimelineGrew
from tests.support.fakes import FakeInference, ScriptedDecoder, batch, media

TAP = Tap(View(8, 8), EVERY_FRAME, 5)
FRAMES = 100
SOON = 10.0


class Grays:
    """Reports the gray of every picture; segments last a second, 25 frames."""

    name, models, tap, revision, options = "grays", ("gray",), TAP, 1, SampledOptions()

    def open(self, media: object) -> None:
        pass

    async def analyze(self, pictures: Any) -> list[float]:
        return (await pictures.infer("gray"))["level"].tolist()

    def close(self, segment: object, seen: Any) -> tuple[LabelScore, ...]:
        return tuple(LabelScore(str(o.value), 0.0, 0.0, o.at) for o in seen)


class Decoder:
    """Plays 100 frames for every opening; ``gates`` holds a frame back until its event is set, ``failures`` are raised in turn."""

    def __init__(self) -> None:
        self.opened = 0
        self.gates: dict[int, asyncio.Event] = {}
        self.failures: list[Exception] = []

    @asynccontextmanager
    async def open(self, source: Any, request: Any) -> AsyncIterator[ScriptedDecoder]:
        self.opened += 1
        failure = self.failures.pop(0) if self.failures else None
        yield _Session(self, failure, request.start.first[0] if request.start else 0)


class _Session(ScriptedDecoder):
    def __init__(self, decoder: Decoder, failure: Exception | None, first: int) -> None:
        events: list[Any] = [MediaOpened(media()), TimelineGrew(0, tuple(range(0, FRAMES * 40, 40)))]
        events += [batch(TAP, range(start, start + 5), start + 5) for start in range(first // 5 * 5, FRAMES, 5)]
        events += [TapAdvanced(TAP, FRAMES), DecodeFinished(Ledger(FRAMES, FRAMES, FRAMES), FRAMES * 40)]
        super().__init__(events if failure is None else events[:1], failure)
        self._gates = decoder.gates

    async def events(self) -> AsyncIterator[Any]:
        async for event in super().events():
            gate = self._gates.get(event.through) if hasattr(event, "rows") else None
            if gate is not None:
                await gate.wait()
            yield event


class Bench:
    """A service and its parts; ``restart`` gives another one over the same files, as after the death of a process."""

    def __init__(self, folder: Path, database: str = "") -> None:
        self.folder, self.database = folder, database
        self.decoder = Decoder()
        self.free = 1 << 30
        self.inference = FakeInference({"gray": (5, lambda frames: {"level": frames[:, 0, 0, 0].astype("int32")})},
                                       {"gray": (8, 8, 3)})  # fmt: skip
        (folder / "media").mkdir(exist_ok=True)

    def file(self, content: bytes = b"one") -> SourceRef:
        path = self.folder / "media" / f"{content.hex()}.mp4"
        if not path.exists():
            path.write_bytes(content)
        return SourceRef(SourceKind.PATH, str(path))

    @asynccontextmanager
    async def service(self, **limits: Any) -> AsyncIterator[AnalysisService]:
        async with open_store(self.database or self.folder / "data") as store:
            disk = DiskGuard((self.folder,), low=1000, high=2000, every=0.01, free=lambda _: self.free)
            parts = Parts(
                decoder=self.decoder,
                inference=self.inference,
                store=store,
                sources=Sources((self.folder / "media",), self.folder / "uploads", 1 << 20),
                profiles={"default": Profile("default", "", 1_000_000_000, {"labels": {}})},
                names=lambda model: (),
                limits=DecodeLimits(),
                disk=disk,
            )
            made = AnalysisService(parts, ServiceLimits(**limits), "here")
            made.start()
            try:
                yield made
            finally:
                await asyncio.wait_for(made.drain(0), SOON)


def make_bench(folder: Path, monkeypatch: pytest.MonkeyPatch, database: str = "") -> Bench:
    """A bench whose runner is quick to look."""
    for module in (attempt, service, estimating):
        monkeypatch.setattr(module, "select", lambda profile, names: Selection(None, (Grays(),)))
    monkeypatch.setattr(runner, "TICK_SECONDS", 0.02)
    monkeypatch.setattr(runner, "PAUSE_SECONDS", (0.01,))
    return Bench(folder, database)


def spec(source: SourceRef, **changes: Any) -> AnalysisSpec:
    return replace(AnalysisSpec(source), **changes)


UPLOAD = SourceRef(SourceKind.UPLOAD)


async def read(of: AnalysisService, analysis_id: str, after: int = 0) -> list[tuple[int, Any]]:
    """The log above ``after``, to its end."""

    async def collect() -> list[tuple[int, Any]]:
        return [(n, e) async for n, e in of.events(analysis_id, after) if not isinstance(e, Progress)]

    return await asyncio.wait_for(collect(), SOON)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(SOON):
        while not condition():
            await asyncio.sleep(0.005)


async def wait_for(of: AnalysisService, analysis_id: str, state: AnalysisState) -> AnalysisRecord:
    async with asyncio.timeout(SOON):
        while (record := await of.get(analysis_id)).state is not state:
            await asyncio.sleep(0.005)
    return record


def overwrite(source: SourceRef, content: bytes) -> None:
    Path(source.name).write_bytes(content)
    os.utime(source.name, ns=(1, content[0]))  # whatever the clock's grain


def whole(log: list[tuple[int, Any]]) -> bool:
    """Started, four segments and Finished, without a gap."""
    kinds = [Started, *[SegmentClosed] * 4, Finished]
    return [n for n, _ in log] == [1, 2, 3, 4, 5, 6] and [type(e) for _, e in log] == kinds
