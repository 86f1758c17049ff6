"""A real service, its real Triton, and everything that it tells of itself while things go well and badly: metrics, logs and traces."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.samples import Sample

from orchestrator import tracing
from orchestrator.adapters.telemetry.metrics import Metrics
from orchestrator.adapters.telemetry.traces import traced
from orchestrator.api.client import AnalysisOptions, ClientError, ReelsiftClient, connect
from tests.acceptance.answers import Answer, collect
from tests.acceptance.server import Server, wait_until
from tests.conftest import Film
from tests.support.collector import Collector, Span, running_collector
from tests.support.further import two_versions

pytestmark = pytest.mark.timeout(300)
BY = {"who": "the tests", "why": "to see"}
OPTIONS = AnalysisOptions(analyzers=("keyframe", "labels"), ignore_known=True)

#: It takes a GPU, a certificate, a backup, or somebody to be told of alerts.
NOT_HERE = {
    "reelsift_gpu_memory_used_bytes",
    "reelsift_gpu_memory_size_bytes",
    "reelsift_gpu_ratio",
    "reelsift_nvdec_ratio",
    "reelsift_certificate_expiry_timestamp_seconds",
    "reelsift_backup_last_success_timestamp_seconds",
    "reelsift_notifications_total",
}
#: Known, and 0 while all is well, or when all is over.
AT_REST = {
    "reelsift_health",
    "reelsift_alerts",
    "reelsift_analyses_longest_idle_seconds",
    "reelsift_analyses_oldest_queued_seconds",
    "reelsift_analyses_queued",
    "reelsift_analyses_running",
    "reelsift_analyses_stuck",
    "reelsift_clock_step_seconds",
    "reelsift_decoders",
    "reelsift_requests_in_progress",
}


@dataclass
class Seen:
    """What came of it all."""

    server: Server
    collector: Collector
    good: Answer
    bad: str
    upgraded: Answer
    samples: list[Sample]
    content_type: str
    log: list[dict[str, Any]]

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels."""
        return sum(each.value for each in self.samples if each.name == name and labels.items() <= each.labels.items())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen(composite: Film) -> AsyncIterator[Seen]:
    async with AsyncExitStack() as stack:
        collector = stack.enter_context(running_collector())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="telemetry-")))
        repository = await asyncio.to_thread(two_versions, folder, "labels")
        settings = {
            "REELSIFT_MODEL_REPOSITORY": str(repository),
            "REELSIFT_TRACE_ENDPOINT": collector.endpoint,
            "REELSIFT_CLEANUP_SECONDS": "1",
            "REELSIFT_RETENTION__UPLOADS__MAX_AGE_SECONDS": "0",
        }
        server = await asyncio.to_thread(Server, settings)
        stack.push_async_callback(asyncio.to_thread, server.stop)
        client = await stack.enter_async_context(connect(server.address))
        async with traced(collector.endpoint, 1.0, "client"):
            with tracing.span("a test"):
                good = await collect(client.analyze_file(composite.path, OPTIONS))
        bad = await garbage(client)
        upgraded = await upgrade(server, client, composite)
        await die(server, client, composite)
        await strange_calls(server)
        samples, content_type = await scraped(server)
        failures = {"UNSUPPORTED_FORMAT", "VERSION_WITHDRAWN"}
        async with asyncio.timeout(30):  # spans are sent every few seconds
            while failures - {span.failed for span in collector.named("analysis.attempt")} or (
                exemplars(samples) - {span.trace for span in collector.spans}
            ):
                await asyncio.sleep(0.1)
        yield Seen(server, collector, good, bad, upgraded, samples, content_type, server.events())


async def garbage(client: ReelsiftClient) -> str:
    """An analysis of what is no video; returns its id."""
    made = (await client.create(OPTIONS.config())).analysis.analysis_id

    async def noise() -> AsyncIterator[bytes]:
        yield b"no video at all" * 1000

    with pytest.raises(ClientError) as caught:
        await collect(client.analyze_stream(noise(), replace(OPTIONS, request_id="a bad one")))
    assert caught.value.reason == "UNSUPPORTED_FORMAT", caught.value.reason
    await client.cancel(made)
    return made


async def upgrade(server: Server, client: ReelsiftClient, film: Film) -> Answer:
    """An analysis whose model's version is rolled back in its midst: it goes back to the queue, and on with the stable one."""
    await client.models.stage("labels", 2, **BY)
    await client.models.canary("labels", 1.0, **BY)
    rolled_back = asyncio.Event()

    async def halves() -> AsyncIterator[bytes]:
        data = film.path.read_bytes()
        yield data[: len(data) // 2]
        await rolled_back.wait()
        yield data[len(data) // 2 :]

    answer = Answer()
    async for response in client.analyze_stream(halves(), OPTIONS, content_length=film.nbytes):
        answer.add(response)
        if response.HasField("segment") and not rolled_back.is_set():
            await client.models.rollback("labels", **BY)
            rolled_back.set()
    return answer


async def die(server: Server, client: ReelsiftClient, film: Film) -> None:
    """A decoder, a model's process and Triton die under an analysis, one after the other."""
    dead = asyncio.Event()

    async def halves() -> AsyncIterator[bytes]:
        data = film.path.read_bytes()
        yield data[: len(data) // 2]
        await dead.wait()
        yield data[len(data) // 2 :]

    async for response in client.analyze_stream(halves(), OPTIONS, content_length=film.nbytes):
        if response.HasField("segment") and not dead.is_set():
            (decoder,), stub = server.busy_decoders(), server.stubs("labels")[0]
            decoder.kill()
            stub.kill()
            await asyncio.to_thread(wait_until, lambda: told(server, "triton.healed", "triton.healing"), 30, "it heals")
            dead.set()
    server.tritonserver().kill()
    await asyncio.to_thread(wait_until, lambda: told(server, "triton.server_ended"), 30, "Triton ends")
    await collect(client.analyze_file(film.path, AnalysisOptions(profile="duplicates", ignore_known=True)))


def told(server: Server, *events: str) -> bool:
    """Whether the log has one of them."""
    return any(line["event"] in events for line in server.events())


async def strange_calls(server: Server) -> None:
    """Calls whose names are the client's own."""
    async with grpc.aio.insecure_channel(server.address) as channel:
        for path in ("/reelsift.v1.AnalysisService/Nonsense", "/x.Y/Z"):
            with pytest.raises(grpc.aio.AioRpcError, match="UNIMPLEMENTED"):
                await channel.unary_unary(path)(b"")
    async with http(server) as calls:
        for path in ("/api/v1/nonsense", "/etc/passwd", f"/api/v1/analyses/{'0' * 32}"):
            assert (await calls.get(path)).status_code == 404


def http(server: Server) -> httpx.AsyncClient:
    """A client of its HTTP server."""
    socket = server.address.removeprefix("unix:").replace("/api", "/http")
    return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=socket), base_url="http://reelsift", timeout=20)


async def scraped(server: Server) -> tuple[list[Sample], str]:
    """Every sample, as Prometheus gets them."""
    async with http(server) as calls:
        answer = await calls.get("/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0"})
    assert answer.status_code == 200
    families = openmetrics(answer.text)
    return [sample for family in families for sample in family.samples], answer.headers["content-type"]


def exemplars(samples: list[Sample]) -> set[str]:
    """The traces that samples name."""
    return {each.exemplar.labels["trace_id"] for each in samples if each.exemplar}


def test_every_metric_was_told_of(seen: Seen) -> None:
    suffix = {"counter": "", "gauge": "", "histogram": "_count"}
    silent = {each.name for each in Metrics().described if not seen.value(each.name + suffix[each.kind])}
    assert silent - NOT_HERE - AT_REST == set()
    assert NOT_HERE - silent == set(), "what can be seen is no exception"
    assert {each.name for each in seen.samples} >= AT_REST


def test_the_numbers_are_those_of_what_happened(seen: Seen) -> None:
    ended = [line for line in seen.log if line["event"] == "analysis.ended"]
    assert seen.value("reelsift_analyses_ended_total") == len(ended) == seen.value("reelsift_analyses_created_total")
    assert seen.value("reelsift_analyses_ended_total", state="failed", reason="UNSUPPORTED_FORMAT") == 1
    assert seen.value("reelsift_analyses_ended_total", state="cancelled", reason="CANCELLED") == 1
    succeeded = seen.value("reelsift_analyses_ended_total", state="succeeded")
    assert succeeded == seen.value("reelsift_analysis_realtime_factor_count") == 4
    assert seen.value("reelsift_analyses_requeued_total", reason="VERSION_WITHDRAWN") == 1
    assert seen.value("reelsift_decoder_crashes_total") == 1
    assert seen.value("reelsift_triton_restarts_total") == 1
    assert seen.value("reelsift_triton_up") == 1
    assert seen.value("reelsift_model_ready", model="labels") >= 1
    steps = [(each.labels["action"], each.value) for each in seen.samples if each.name == "reelsift_model_steps_total"]
    assert sorted(steps) == [("canary", 1), ("rollback", 1), ("stage", 1)]
    frames = seen.good.finished.ledger
    assert seen.value("reelsift_frames_total", outcome="decoded") >= 4 * frames.decoded_frames
    warnings = sum(line["level"] == "warning" for line in seen.log)
    assert seen.value("reelsift_log_events_total", level="warning") == warnings


def test_no_client_makes_a_label(seen: Seen) -> None:
    methods = {each.labels["method"] for each in seen.samples if each.name == "reelsift_requests_total"}
    assert {"Analyze", "CreateAnalysis", "StageVersion", "unknown"} <= methods
    assert not methods & {"Nonsense", "Z", "nonsense", "/etc/passwd"}
    assert seen.value("reelsift_requests_total", transport="http", method="unknown", code="NOT_FOUND") == 2
    assert seen.value("reelsift_request_duration_seconds_count", method="Analyze") == 0, "a stream has no duration"
    assert len([each for each in seen.samples if each.name.startswith("reelsift_")]) < 1000


def test_openmetrics_has_exemplars(seen: Seen) -> None:
    assert seen.content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert exemplars(seen.samples), "each is a trace that the collector has: the fixture waited for it"
    names = {each.name for each in seen.samples if each.exemplar}
    assert {"reelsift_request_duration_seconds_bucket", "reelsift_analysis_duration_seconds_bucket"} <= names


def test_every_line_is_json_and_says_whose_it_is(seen: Seen) -> None:
    lines = [json.loads(line) for line in seen.server.log.read_text().splitlines()]
    for line in lines:
        assert {"timestamp", "level", "component", "event"} <= line.keys(), line
    components = {line["component"] for line in lines}
    assert {"api", "cli", "decoders", "pipeline", "triton"} <= components
    died = next(line for line in lines if line["event"] == "decoder.died")
    assert died["analysis_id"], "a helper's line is its analysis'"
    refused = next(line for line in lines if line["event"] == "analysis.ended" and line["state"] == "FAILED")
    assert refused["request_id"] == "a bad one"
    assert refused["duration_ms"] >= 0
    assert "trace_id" in refused
    errors = {line["event"] for line in lines if line["level"] in ("error", "critical")}
    assert errors <= {"triton.not_started", "triton.no_answer"}, "it was killed"


def test_one_trace_leads_from_the_client_to_the_inference(seen: Seen) -> None:
    collector = seen.collector
    (root,) = collector.named("a test")
    trace = [span for span in collector.spans if span.trace == root.trace and span.service == "reelsift"]
    assert {span.name for span in trace} == {
        "a test", "grpc Analyze", "analysis.attempt", "media.open", "decode", "segment", "store.commit", "inference",
    }  # fmt: skip
    for inference in [span for span in trace if span.name == "inference"]:
        assert collector.ancestors(inference)[-3:] == ["analysis.attempt", "grpc Analyze", "a test"]
        assert inference.kind == "CLIENT"
    models = {span.attributes["reelsift.model"] for span in trace if span.name == "inference"}
    assert models == {"labels"}
    segments = [span for span in trace if span.name == "segment"]
    assert len(segments) == len(seen.good.segments)
    (call,) = [span for span in trace if span.name == "grpc Analyze"]
    assert call.kind == "SERVER"
    (attempt,) = [span for span in trace if span.name == "analysis.attempt"]
    assert attempt.attributes == {"reelsift.analysis_id": seen.good.analysis_id, "reelsift.attempt": 1}
    line = next(
        each for each in seen.log if each["event"] == "analysis.ended" and each["analysis_id"] == seen.good.analysis_id
    )
    assert line["trace_id"] == root.trace


def test_a_failure_is_a_failed_span(seen: Seen) -> None:
    (failed,) = [span for span in seen.collector.named("analysis.attempt") if span.failed == "UNSUPPORTED_FORMAT"]
    assert "grpc Analyze" in seen.collector.ancestors(failed)
    withdrawn = [span for span in seen.collector.named("analysis.attempt") if span.failed == "VERSION_WITHDRAWN"]
    assert len(withdrawn) == 1


def test_triton_goes_on_with_the_trace(seen: Seen) -> None:
    (root,) = seen.collector.named("a test")
    asked = {span.id for span in seen.collector.named("inference") if span.trace == root.trace}

    def theirs() -> list[Span]:
        return [span for span in seen.collector.spans if span.service == "triton"]

    wait_until(lambda: bool(asked & {span.parent for span in theirs()}), 20, "Triton tells of its part")
    assert all(span.parent for span in theirs()), "and of nothing that is not a part of a trace"
