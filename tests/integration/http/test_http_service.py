"""The HTTP server over the real service: its store, its spool, its decoders and its search; only Triton is left out, the
same models answer in this process."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import structlog

from orchestrator.adapters.frames.arena import Arena
from orchestrator.app import running_app
from orchestrator.pipeline.telemetry import Telemetry
from orchestrator.ports import Inference
from orchestrator.settings import Settings
from tests.media.synth import plain
from tests.support.curl import curl
from tests.support.ort_inference import OrtInference
from tests.support.schemathesis import cases, schemathesis

EXAMPLES = os.environ.get("REELSIFT_SCHEMATHESIS_EXAMPLES", "6")


@asynccontextmanager
async def in_process(settings: Settings, arena: Arena, telemetry: Telemetry) -> AsyncIterator[Inference]:
    """The models in this process."""
    yield OrtInference(settings.model_repository)


@asynccontextmanager
async def service(folder: Path, http: str, roots: tuple[Path, ...] = ()) -> AsyncIterator[None]:
    """The whole service."""
    settings = Settings(
        listen=f"unix:{folder}/grpc",
        http_listen=http,
        data_dir=folder / "data",
        roots=roots,
        decode_threads=1,
        arena_bytes=64 << 20,
        drain_seconds=0.0,
    )
    async with running_app(settings, in_process):
        yield


async def test_curl_alone_uploads_follows_and_searches(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(plain())
    size = film.stat().st_size
    with tempfile.TemporaryDirectory() as name:
        sock = f"{name}/http"
        async with service(Path(name), f"unix:{sock}"):
            base = "http://reelsift/api/v1"

            async def call(*arguments: str) -> str:
                status, out = await curl("--fail-with-body", "--unix-socket", sock, *arguments)
                assert status == 0, out
                return out

            config = {"upload": {"contentLength": str(size)}, "analyzers": ["keyframe", "labels"], "tenant": "t"}
            as_json = ("--header", "Content-Type: application/json", "--data")
            made = json.loads(await call(*as_json, json.dumps({"config": config}), f"{base}/analyses"))
            url = f"{base}/analyses/{made['analysis']['analysisId']}"
            following = asyncio.create_task(call("--no-buffer", f"{url}/events"))

            half = tmp_path / "half"
            half.write_bytes(film.read_bytes()[: size // 2])
            place = f"Content-Range: bytes 0-{size // 2 - 1}/{size}"
            await call("--upload-file", str(half), "--header", place, f"{url}/media")
            head = (await call("--head", f"{url}/media")).lower()
            assert f"upload-offset: {size // 2}\r\n" in head
            await call("--continue-at", str(size // 2), "--upload-file", str(film), f"{url}/media")

            told = [line.split(": ", 1) for line in (await following).splitlines() if line and line[0] != ":"]
            names = [value for key, value in told if key == "event"]
            assert (names[0], names[-1]) == ("started", "finished")
            ids = [int(value) for key, value in told if key == "id"]
            assert ids == list(range(1, len(ids) + 1)), "the log has no gaps"
            segments = [json.loads(value)["segment"] for key, value in told if key == "data" and '"segment"' in value]
            again = await call("--no-buffer", "--header", "Last-Event-ID: 1", f"{url}/events")
            assert [json.loads(line[6:]).get("segment") for line in again.splitlines() if line.startswith("data: ")][
                :-1
            ] == segments

            pages = json.loads(await call(f"{url}/segments"))
            assert (pages["segments"], pages["nextPageToken"]) == (segments, "")
            analysis = json.loads(await call(url))["analysis"]
            assert (analysis["state"], analysis["segmentCount"]) == ("ANALYSIS_STATE_SUCCEEDED", len(segments))

            label = segments[0]["annotations"][-1]["labels"]["labels"][0]["label"]
            search = ("--get", "--data-urlencode", f"query={label}", "--data", "filter.tenant=t", f"{base}/search")
            hits = json.loads(await call(*search))["hits"]
            assert hits[0]["segment"]["analysisId"] == analysis["analysisId"]
            assert label in {reason["matched"] for reason in hits[0]["reasons"]}

            picture = tmp_path / "picture.jpg"
            await call("--output", str(picture), f"{url}/segments/0/thumbnail")
            assert picture.read_bytes()[:2] == b"\xff\xd8"
            assert len((await call(f"{url}/export?format=csv")).splitlines()) == len(segments) + 1
            assert json.loads(await call("--request", "POST", f"{url}:cancel")) == {}, "what has ended stays as it is"
            assert json.loads(await call("--request", "DELETE", url)) == {}
            assert "NOT_FOUND" in (await curl("--unix-socket", sock, url))[1]


KNOWN = """
[dictionaries.analyses]
values = [{ids}]

[dictionaries.paths]
values = ["{path}"]

[parameters]
"path.analysis_id" = {{ dictionary = "analyses", probability = 1.0 }}
"body.config.path" = {{ dictionary = "paths", probability = 0.7 }}
"""


async def test_no_request_breaks_the_service_or_its_word(tmp_path: Path) -> None:
    """Deletion is left out: it would leave nothing to ask for."""
    film = tmp_path / "film.mp4"
    film.write_bytes(plain())
    with tempfile.TemporaryDirectory() as name, structlog.testing.capture_logs() as logs:
        async with service(Path(name), "127.0.0.1:0", roots=(tmp_path,)):
            address = next(each["address"] for each in logs if each["event"] == "http.listening")
            ids = []
            async with httpx.AsyncClient(base_url=f"http://{address}/api/v1") as client:
                for _ in range(2):
                    config = {"path": str(film), "analyzers": ["keyframe"]}
                    made = (await client.post("/analyses", json={"config": config})).json()
                    ids.append(made["analysis"]["analysisId"])
                    await client.get(f"/analyses/{ids[-1]}/events")
            known = KNOWN.format(ids=", ".join(map(json.dumps, ids)), path=film)
            chosen = ("--phases", "fuzzing", "--max-examples", EXAMPLES, "--exclude-operation-id", "DeleteAnalysis")
            status, told = await schemathesis(address, tmp_path, known, *chosen)
    surprises = [each for each in logs if each["event"] == "http.unexpected_error"]
    assert (status, surprises) == (0, []), told
    assert cases(told) > 50
