"""`curl` alone uploads a video, follows its analysis and searches."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from pathlib import Path

import pytest

from tests.integration.http.conftest import serving
from tests.support.curl import curl

API = "/api/v1"
SIZE = 3_000_000


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(os.urandom(SIZE))
    return path


async def test_upload_follow_and_search(film: Path) -> None:
    digest = hashlib.sha256(film.read_bytes()).hexdigest()  # noqa: ASYNC240
    async with serving(port=True) as running:
        base = f"http://{running.address}{API}"
        code, out = await curl(
            *("--header", "Content-Type: application/json"),
            *("--data", json.dumps({"config": {"upload": {"contentLength": SIZE}, "requestId": "r-1"}})),
            f"{base}/analyses",
        )
        assert code == 0
        name = json.loads(out)["analysis"]["analysisId"]
        job = running.analyses[name]

        following = asyncio.create_task(curl("--no-buffer", f"{base}/analyses/{name}/events"))

        # The first try breaks in the midst: the disk is slow, and curl is killed
        job.delay = 0.02
        first = await asyncio.create_subprocess_exec(
            "curl", "--silent", "--limit-rate", "2M", "--upload-file", str(film), f"{base}/analyses/{name}/media"
        )
        async with asyncio.timeout(10):
            while job.written < SIZE // 4:
                await asyncio.sleep(0.01)
        first.kill()
        assert await first.wait() != 0
        async with asyncio.timeout(5):
            while not job.closed:
                await asyncio.sleep(0.01)
        job.delay = 0.0

        # The second goes on where the server says
        code, out = await curl("--head", f"{base}/analyses/{name}/media")
        headers = dict(line.lower().split(": ", 1) for line in out.splitlines() if ": " in line)
        offset = int(headers["upload-offset"])
        assert SIZE // 4 <= offset < SIZE
        assert headers["upload-complete"] == "?0"
        code, out = await curl(
            *("--continue-at", str(offset), "--upload-file", str(film)),
            *("--write-out", "\n%{http_code} %{size_upload}"),
            f"{base}/analyses/{name}/media",
        )
        assert code == 0
        assert out.splitlines()[-1] == f"200 {SIZE - offset}", "not one byte more than was missing"
        assert job.digest.hexdigest() == digest

        code, out = await following
        assert code == 0
        assert [line for line in out.splitlines() if line.startswith("event: ")] == [
            "event: started",
            *["event: segment"] * 3,
            "event: finished",
        ]
        code, rest = await curl("--no-buffer", "--header", "Last-Event-ID: 3", f"{base}/analyses/{name}/events")
        assert [line for line in rest.splitlines() if line.startswith("id: ")] == ["id: 4", "id: 5"]

        code, out = await curl(
            "--get", "--data-urlencode", "query=a line", "--data", "filter.min_score=0.5", f"{base}/search"
        )
        assert json.loads(out)["hits"][0]["reasons"][0]["matched"] == "a line"

        picture = film.with_suffix(".jpg")
        code, out = await curl("--fail", "--output", str(picture), f"{base}/analyses/{name}/segments/1/thumbnail")
        assert code == 0
        assert picture.read_bytes().startswith(b"\xff\xd8")
        code, out = await curl("--fail", f"{base}/analyses/{name}/export?format=csv")
        assert (code, out) == (0, "first,second")


async def test_a_refused_upload_is_not_sent(film: Path) -> None:
    """curl asks before it sends a large body: an error comes instead of the permission."""
    async with serving(port=True) as running:
        name = await running.uploading()
        code, out = await curl(
            *("--continue-at", "1000", "--upload-file", str(film), "--expect100-timeout", "10"),
            *("--header", "Expect: 100-continue", "--write-out", "\n%{http_code} %{size_upload}"),
            f"http://{running.address}{API}/analyses/{name}/media",
        )
        assert code == 0
        assert out.splitlines()[-1] == "409 0"
