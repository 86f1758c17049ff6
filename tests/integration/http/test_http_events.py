"""Segments as server-sent events and as pages."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
import structlog

from orchestrator.api.http import events
from orchestrator.core.results import Failed
from orchestrator.errors import StoreUnavailable
from tests.integration.http.conftest import Running, Serve
from tests.integration.http.scripted import (
    CANCELLED,
    JPEG,
    PROGRESS,
    STARTED,
    ScriptedAnalyses,
    finished,
    script,
    segment,
)

API = "/api/v1"

pytestmark = pytest.mark.asyncio(loop_scope="module")  # one server for all


@dataclass
class Event:
    """A server-sent event."""

    name: str
    sequence: str
    data: dict[str, object]


async def read(answer: httpx.Response) -> AsyncIterator[Event]:
    """The events of a stream, as the standard says to read them; heartbeats are left out."""
    fields: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            assert name not in fields, "no event of ours has two lines of data"
            fields[name] = value
        elif fields:
            yield Event(fields.get("event", ""), fields.get("id", ""), json.loads(fields["data"]))
            fields = {}
    assert not fields, "the stream broke off in the midst of an event"


async def all_events(running: Running, name: str, query: str = "", **headers: str) -> list[Event]:
    """Everything that a stream tells."""
    async with running.client.stream("GET", f"{API}/analyses/{name}/events{query}", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        return [event async for event in read(answer)]


async def test_the_whole_log(running: Running) -> None:
    name = await running.analysed()
    told = await all_events(running, name)
    assert [each.name for each in told] == ["started", "segment", "segment", "segment", "finished"]
    assert [each.sequence for each in told] == ["1", "2", "3", "4", "5"]
    for each in told:
        assert (each.data["analysisId"], each.data["sequence"]) == (name, each.sequence)
    assert b64decode(told[1].data["segment"]["thumbnail"]["jpeg"]) == JPEG
    assert told[1].data["segment"]["interval"]["endNs"] == "40000000"


@pytest.mark.parametrize("after", [1, 3, 4])
async def test_it_goes_on_after_any_event(running: Running, after: int) -> None:
    name = await running.analysed()
    whole = await all_events(running, name)
    for rest in (
        await all_events(running, name, f"?after_sequence={after}"),
        await all_events(running, name, **{"Last-Event-ID": str(after)}),
        await all_events(running, name, "?after_sequence=0", **{"Last-Event-ID": str(after)}),
    ):
        assert [(each.name, each.sequence) for each in rest] == [(each.name, each.sequence) for each in whole[after:]]
        assert [each.data.get("segment") for each in rest] == [each.data.get("segment") for each in whole[after:]]


async def test_after_the_last_event_it_tells_not_to_reconnect(running: Running) -> None:
    name = await running.analysed()
    answer = await running.client.get(f"{API}/analyses/{name}/events", headers={"Last-Event-ID": "5"})
    assert (answer.status_code, answer.content) == (204, b"")


async def test_what_comes_later_comes_at_once_and_progress_moves_no_cursor(running: Running) -> None:
    name = await running.uploading()
    job = running.analyses[name]
    async with running.client.stream("GET", f"{API}/analyses/{name}/events") as answer:
        stream = read(answer)
        for event, told, sequence in (
            (STARTED, "started", "1"),
            (PROGRESS, "progress", ""),
            (segment(0, True), "segment", "2"),
            (finished(1), "finished", "3"),
        ):
            job.extend(event)
            got = await asyncio.wait_for(anext(stream), 5)
            assert (got.name, got.sequence) == (told, sequence)
        assert [event async for event in stream] == []
    assert job.readers == 0


async def test_a_failed_analysis_ends_with_an_error(running: Running) -> None:
    name = await running.uploading()
    failed = Failed("MEDIA_UNREADABLE", "INVALID_ARGUMENT", "no frame", True, (("frame", "3"),))
    running.analyses[name].extend(STARTED, segment(0), failed)
    for query in ("", "?after_sequence=2"):
        last = (await all_events(running, name, query))[-1]
        assert (last.name, last.sequence, last.data["code"], last.data["message"]) == ("error", "3", 3, "no frame")
        assert last.data["details"][0]["reason"] == "MEDIA_UNREADABLE"
        assert last.data["details"][0]["metadata"] == {"frame": "3"}
        assert last.data["details"][1]["retryDelay"] == "2s"
    assert (await running.client.get(f"{API}/analyses/{name}/events?after_sequence=3")).status_code == 204


async def test_one_that_is_cancelled_before_it_began(running: Running) -> None:
    name = await running.uploading()
    running.analyses[name].extend(CANCELLED)
    (only,) = await all_events(running, name)
    assert (only.name, only.sequence, only.data["details"][0]["reason"]) == ("error", "1", "CANCELLED")


@pytest.mark.parametrize(
    ("error", "code"), [(StoreUnavailable("the store is gone"), 14), (RuntimeError("/secret"), 13)]
)
async def test_a_stream_that_breaks_says_so_without_moving_the_cursor(
    running: Running, error: Exception, code: int
) -> None:
    name = await running.uploading()
    job = running.analyses[name]
    async with running.client.stream("GET", f"{API}/analyses/{name}/events") as answer:
        stream = read(answer)
        job.extend(STARTED)
        await anext(stream)
        job.broken = error
        job.wake()
        with structlog.testing.capture_logs():
            got = await anext(stream)
        assert (got.name, got.sequence, got.data["code"]) == ("error", "", code)
        assert "secret" not in json.dumps(got.data)
        assert [event async for event in stream] == []


async def test_heartbeats(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.05)
    name = await running.uploading()
    async with running.client.stream("GET", f"{API}/analyses/{name}/events") as answer:
        lines = answer.aiter_lines()
        assert [await asyncio.wait_for(anext(lines), 5) for _ in range(4)] == [": heartbeat", "", ": heartbeat", ""]


async def test_a_reader_that_leaves_holds_nothing(running: Running) -> None:
    name = await running.uploading()
    job = running.analyses[name]
    async with running.client.stream("GET", f"{API}/analyses/{name}/events") as answer:
        stream = read(answer)
        job.extend(STARTED)
        await anext(stream)
        assert job.readers == 1
    async with asyncio.timeout(5):
        while job.readers:
            await asyncio.sleep(0.01)


async def test_an_analysis_that_is_not_there(running: Running) -> None:
    for part in ("events", "segments", "export?format=csv", "segments/0/thumbnail"):
        assert (await running.client.get(f"{API}/analyses/a-9/{part}")).status_code == 404


async def test_pages_of_segments(serve: Serve) -> None:
    async with serve(ScriptedAnalyses(script=script(7))) as running:
        name = await running.analysed()
        url, found, token, sizes = f"{API}/analyses/{name}/segments", [], "", []
        while True:
            page = (await running.client.get(url, params={"page_size": 3, "page_token": token})).json()
            found += page["segments"]
            sizes.append(len(page["segments"]))
            if not (token := page["nextPageToken"]):
                break
        assert sizes == [3, 3, 1]
        streamed = [each.data["segment"] for each in await all_events(running, name) if each.name == "segment"]
        assert found == streamed
        bare = (await running.client.get(url, params={"thumbnails": "false"})).json()["segments"]
        assert len(bare) == 7
        assert all(each["thumbnail"]["jpeg"] == "" and each["thumbnail"]["width"] == 64 for each in bare)


async def test_a_page_does_not_wait_for_what_comes(running: Running) -> None:
    name = await running.uploading()
    url = f"{API}/analyses/{name}/segments"
    assert (await running.client.get(url)).json() == {"segments": [], "nextPageToken": "0"}
    running.analyses[name].extend(STARTED, PROGRESS, segment(0))
    page = (await running.client.get(url)).json()
    assert ([each["index"] for each in page["segments"]], page["nextPageToken"]) == ([0], "1")
    assert (await running.client.get(url, params={"page_token": "1"})).json() == {"segments": [], "nextPageToken": "1"}
    running.analyses[name].extend(segment(1, True), finished(2))
    page = (await running.client.get(url, params={"page_token": "1"})).json()
    assert ([each["index"] for each in page["segments"]], page["nextPageToken"]) == ([1], "")
