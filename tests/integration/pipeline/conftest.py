"""The pipeline with its real parts inside this process, so that what passes between them can be watched."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio

from orchestrator.adapters.decoders.process import ProcessDecoder
from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.sources.profiles import load_profiles
from orchestrator.adapters.sources.sources import Sources
from orchestrator.adapters.stores.sql import open_store
from orchestrator.adapters.triton.labels import Labels
from orchestrator.app import running_inference
from orchestrator.core.jobs import AnalysisSpec, SourceKind, SourceRef
from orchestrator.core.media import DecodeLimits
from orchestrator.core.results import AnalysisEvent
from orchestrator.pipeline import attempt
from orchestrator.pipeline.disk import DiskGuard
from orchestrator.pipeline.service import AnalysisService
from orchestrator.ports import Inference
from orchestrator.settings import Settings
from tests.media.composite import REEL, build


@dataclass(frozen=True, slots=True)
class Parts:
    """What services are made of here."""

    settings: Settings
    arena: Arena
    triton: Inference

    async def analyse(self, inference: Inference, path: Path) -> list[AnalysisEvent]:
        """All events of one analysis by a service of its own, every cut the model's to find; its frames must be home in the end."""
        default = load_profiles()["default"]
        profile = replace(default, analyzers={**default.analyzers, "shots": {"gate_sure": 0.0}})
        decoder = ProcessDecoder(self.arena, threads=2)
        with tempfile.TemporaryDirectory() as name:
            data = Path(name)
            async with open_store(data) as store:
                parts = attempt.Parts(
                    decoder=decoder,
                    inference=inference,
                    store=store,
                    sources=Sources((path.parent,), data / "uploads", 1 << 30),
                    profiles={"default": profile},
                    names=Labels(self.settings.model_repository),
                    limits=DecodeLimits(),
                    disk=DiskGuard((data,), low=0, high=1),
                )
                service = AnalysisService(parts)
                service.start()
                try:
                    record, _ = await service.create(AnalysisSpec(SourceRef(SourceKind.PATH, str(path))))
                    events = [event async for _, event in service.events(record.id)]
                finally:
                    await service.drain(5.0)
                    await decoder.close()
        assert self.arena.in_use == 0, "a slot never came home"
        return events


@asynccontextmanager
async def real_parts(settings: Settings) -> AsyncIterator[Parts]:
    with Arena(settings.arena_bytes) as arena:
        async with running_inference(settings, arena) as triton:
            yield Parts(settings, arena, triton)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def parts() -> AsyncIterator[Parts]:
    """A real Triton over the real models."""
    async with real_parts(Settings(triton="")) as made:
        yield made


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shots of the composite: a face under a line of text, then cars."""
    path = tmp_path_factory.mktemp("short") / "short.mp4"
    build(path, REEL[5:7])
    return path
