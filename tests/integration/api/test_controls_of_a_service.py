"""A whole service in this process, and what operators do with it: its store, its decoders and its real models; only Triton is left out."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from orchestrator.adapters.frames.arena import Arena
from orchestrator.analyzers.registry import available
from orchestrator.api import messages as pb
from orchestrator.api.client import AnalysisOptions, ClientError, connect
from orchestrator.app import running_app
from orchestrator.core.jobs import AnalysisState
from orchestrator.errors import InvalidRequest
from orchestrator.pipeline.control import Control
from orchestrator.pipeline.telemetry import Telemetry
from orchestrator.ports import Inference
from orchestrator.reloading import Reloads
from orchestrator.settings import Settings
from tests.media.synth import plain
from tests.support.ort_inference import OrtInference
from tests.support.services import until

WHO = {"who": "olga", "why": "a test"}
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@asynccontextmanager
async def in_process(settings: Settings, arena: Arena, telemetry: Telemetry) -> AsyncIterator[Inference]:
    """The models in this process."""
    yield OrtInference(settings.model_repository)


@dataclass
class Operated:
    """A running service in ``folder``, where ``film.mp4`` lies, and its settings that the next reload finds."""

    folder: Path
    changes: dict[str, object] = field(default_factory=dict)
    control: list[Control] = field(default_factory=list)
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    address: str = ""

    def settings(self) -> Settings:
        fixed: dict[str, object] = {
            "server_name": "here",
            "listen": f"unix:{self.folder}/grpc",
            "http_listen": f"unix:{self.folder}/http",
            "data_dir": self.folder / "data",
            "decode_threads": 1,
            "arena_bytes": 64 << 20,
            "drain_seconds": 0.0,
            "embed_text": False,
        }
        return Settings(**{**fixed, **self.changes})  # type: ignore[arg-type]

    async def health(self) -> int:
        async with grpc.aio.insecure_channel(self.address) as channel:
            return (await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())).status

    async def ready(self) -> bool:
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=f"{self.folder}/http")) as client:
            return (await client.get("http://reelsift/readyz")).status_code == 200

    async def analyze(self, **options: object) -> list[pb.AnalyzeResponse]:
        async with connect(self.address) as client:
            asked = AnalysisOptions(ignore_known=True, **options)  # type: ignore[arg-type]
            return [each async for each in client.analyze_file(self.folder / "film.mp4", asked)]


@pytest.fixture
async def operated() -> AsyncIterator[Operated]:
    with tempfile.TemporaryDirectory() as folder:
        service = Operated(Path(folder))
        (service.folder / "film.mp4").write_bytes(plain())
        settings = service.settings()
        async with running_app(
            settings,
            in_process,
            ending=service.ending,
            reloads=Reloads(settings, service.settings),
            controlled=service.control.append,
        ) as address:
            service.address = address
            yield service


async def test_what_it_can_do_and_on_what_it_rests(operated: Operated) -> None:
    (control,) = operated.control
    await until(lambda: any(each.ready for each in control.status().capabilities if each.name == "labels"))
    status = control.status()
    assert set(status.versions) == {"reelsift", "python", "onnxruntime", "libav", "sqlite"}
    assert all(version[0].isdigit() or version.startswith("libavcodec ") for version in status.versions.values())
    by = {each.name: each for each in status.capabilities}
    assert set(by) == {*available(), "estimates", "gpu decoding", "paths", "search", "uploads"}
    unready = {name for name, each in by.items() if not each.ready}
    assert unready - {"gpu decoding"} == {"paths"}
    assert "roots" in by["paths"].why
    assert (status.server, status.accepting, status.maintenance) == ("here", True, "")


async def test_what_an_analysis_took_is_told(operated: Operated) -> None:
    (control,) = operated.control
    *_, last = await operated.analyze(analyzers=("shots", "keyframe", "labels"))
    ledger = last.finished.ledger
    stats = await control.stats(1)
    assert stats.states == {AnalysisState.SUCCEEDED: 1}
    assert stats.frames["decoded"] == ledger.decoded_frames
    assert stats.frames["reused"] == ledger.reused_frames
    assert stats.media_seconds == pytest.approx(last.finished.media_ns / 1e9)
    assert stats.realtime_factor.max == pytest.approx(last.finished.realtime_factor, rel=1e-6)
    assert {
        "open",
        "decode",
        "infer/shots",
        "infer/keyframe",
        "infer/labels",
        "model/labels",
        "segment",
        "store",
    } <= set(stats.stages)
    assert all(0 <= seconds < stats.elapsed.max * 4 for seconds in stats.stages.values())
    assert stats.frames_analyzed > 0
    assert await control.sessions() == []


async def test_maintenance_is_told_to_all_who_ask(operated: Operated) -> None:
    (control,) = operated.control
    assert (await operated.health(), await operated.ready()) == (SERVING, True)
    await control.set_maintenance(True, **WHO)
    assert (await operated.health(), await operated.ready()) == (NOT_SERVING, False)
    with pytest.raises(ClientError) as caught:
        await operated.analyze(analyzers=("keyframe",))
    assert caught.value.reason == "MAINTENANCE"
    await control.set_maintenance(False, **WHO)
    assert (await operated.health(), await operated.ready()) == (SERVING, True)
    assert (await operated.analyze(analyzers=("keyframe",)))[-1].HasField("finished")


async def test_a_reload_reaches_every_part_or_none(operated: Operated) -> None:
    (control,) = operated.control
    analyses = control.analyses
    operated.changes = {
        "max_running": 1,
        "max_waiting": 3,
        "stuck_seconds": 60,
        "roots": (operated.folder,),
        "max_frame_pixels": 1000,
        "disk_low_bytes": 1,
        "disk_high_bytes": 2,
        "drain_seconds": 0.5,
    }
    assert control.reload(**WHO) == tuple(sorted(operated.changes))
    assert (analyses.limits.running, analyses.limits.waiting, analyses.limits.stuck) == (1, 3, 60)
    path = str(operated.folder / "film.mp4")
    async with connect(operated.address) as client:
        with pytest.raises(ClientError, match="pixels"):
            [each async for each in client.analyze_path(path, AnalysisOptions(analyzers=("keyframe",)))]
    for wrong in ({"disk_low_bytes": 5}, {"data_dir": operated.folder}, {"profile_dir": operated.folder / "none"}):
        kept, operated.changes = operated.changes, {**operated.changes, "max_running": 7, **wrong}
        with pytest.raises(InvalidRequest):
            control.reload(**WHO)
        assert analyses.limits.running == 1
        operated.changes = kept
    profiles = operated.folder / "profiles"
    profiles.mkdir()
    (profiles / "mine.toml").write_text("[analyzers.keyframe]\n")
    operated.changes |= {"profile_dir": profiles, "max_frame_pixels": 1 << 24}
    assert control.reload(**WHO) == ("max_frame_pixels", "profile_dir")
    assert (await operated.analyze(profile="mine"))[-1].HasField("finished")
    (profiles / "mine.toml").write_text("[analyzers.shots]\n")
    assert control.reload(**WHO) == ("profile_dir",), "what lies in the folder has changed"
    assert control.reload(**WHO) == ()


async def test_an_operators_drain_ends_the_service(operated: Operated) -> None:
    (control,) = operated.control
    assert not operated.ending.is_set()
    control.drain(**WHO)
    assert operated.ending.is_set()
