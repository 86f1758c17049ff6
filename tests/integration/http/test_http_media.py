"""Uploads by PUT: pieces, breaks, and what is acknowledged."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator

import pytest

from orchestrator.core.jobs import UploadState
from orchestrator.errors import DiskFull, MediaTooLarge
from tests.integration.http.conftest import Running

API = "/api/v1"

pytestmark = pytest.mark.asyncio(loop_scope="module")  # one server for all
MEDIA = os.urandom(300_000)


def url(name: str) -> str:
    """Where the media goes."""
    return f"{API}/analyses/{name}/media"


async def put(running: Running, name: str, data: bytes, content_range: str | None = None) -> tuple[int, str]:
    """The answer to a piece, and the offset that it tells."""
    headers = {} if content_range is None else {"content-range": content_range}
    answer = await running.client.put(url(name), content=data, headers=headers)
    return answer.status_code, answer.headers.get("upload-offset", "")


async def offset(running: Running, name: str) -> tuple[str, str]:
    """What HEAD tells."""
    answer = await running.client.head(url(name))
    assert (answer.status_code, answer.content) == (200, b"")
    return answer.headers["upload-offset"], answer.headers["upload-complete"]


async def test_in_one_piece(running: Running) -> None:
    name = await running.uploading()
    answer = await running.client.put(url(name), content=MEDIA)
    assert answer.status_code == 200
    assert answer.json() == {"upload": {"committedBytes": str(len(MEDIA)), "complete": True}}
    job = running.analyses[name]
    assert job.digest.hexdigest() == hashlib.sha256(MEDIA).hexdigest()
    assert job.record.upload == UploadState(len(MEDIA), True)
    assert job.closed == 1
    assert await offset(running, name) == (str(len(MEDIA)), "?1")


async def test_a_length_that_nobody_knows(running: Running) -> None:
    name = await running.uploading()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(MEDIA), 50_000):
            yield MEDIA[start : start + 50_000]

    answer = await running.client.put(url(name), content=pieces())
    assert (answer.status_code, answer.headers["upload-offset"]) == (200, str(len(MEDIA)))
    assert running.analyses[name].digest.hexdigest() == hashlib.sha256(MEDIA).hexdigest()


@pytest.mark.parametrize("announced", [None, 300_000])
@pytest.mark.parametrize("total", ["300000", "*"])
async def test_in_pieces(running: Running, announced: int | None, total: str) -> None:
    name = await running.uploading(announced)
    assert await offset(running, name) == ("0", "?0")
    assert await put(running, name, MEDIA[:100_000], f"bytes 0-99999/{total}") == (308, "100000")
    assert await offset(running, name) == ("100000", "?0")
    ends = announced or total != "*"
    assert await put(running, name, MEDIA[100_000:], f"bytes 100000-299999/{total}") == (200 if ends else 308, "300000")
    if not ends:
        assert await put(running, name, b"", "bytes */*") == (308, "300000")
        assert await put(running, name, b"", "bytes */300000") == (200, "300000")
    assert running.analyses[name].digest.hexdigest() == hashlib.sha256(MEDIA).hexdigest()


async def test_a_piece_that_is_sent_again_changes_nothing(running: Running) -> None:
    name = await running.uploading()
    for _ in range(2):
        assert await put(running, name, MEDIA[:100_000], "bytes 0-99999/300000") == (308, "100000")
    assert await put(running, name, MEDIA[50_000:], "bytes 50000-299999/300000") == (200, "300000")
    assert running.analyses[name].digest.hexdigest() == hashlib.sha256(MEDIA).hexdigest()
    for again in (
        await put(running, name, MEDIA),
        await put(running, name, MEDIA[50_000:], "bytes 50000-299999/300000"),
        await put(running, name, b"", "bytes */300000"),
    ):
        assert again == (200, "300000")
    assert (await put(running, name, MEDIA + b"x"))[0] == 409


async def test_a_gap_is_refused_before_its_bytes_are_read(running: Running) -> None:
    name = await running.uploading()
    assert await put(running, name, MEDIA[:10], "bytes 0-9/300000") == (308, "10")
    answer = await running.client.put(
        url(name), content=MEDIA[20:], headers={"content-range": "bytes 20-299999/300000"}
    )
    assert (answer.status_code, answer.headers["upload-offset"]) == (409, "10")
    assert answer.json()["details"][0]["reason"] == "UPLOAD_OUT_OF_ORDER"
    assert running.analyses[name].written == 10


@pytest.mark.parametrize(
    ("content_range", "size"),
    [
        ("bytes 0-9/*", 11),
        ("bytes 0-9/*", 9),
        ("bytes 5-4/10", 0),
        ("bytes 0-10/10", 11),
        ("bytes 0-9", 10),
        ("items 0-9/10", 10),
        ("bytes */10", 5),
        ("bytes 0-9999999999999999999/*", 3),
        (None, 0),
    ],
)
async def test_a_range_that_cannot_be(running: Running, content_range: str | None, size: int) -> None:
    name = await running.uploading()
    assert (await put(running, name, MEDIA[:size], content_range))[0] == 400
    assert running.analyses[name].written == 0


async def test_a_total_that_contradicts_what_was_announced(running: Running) -> None:
    name = await running.uploading(300_000)
    assert (await put(running, name, MEDIA[:10], "bytes 0-9/20"))[0] == 400
    assert (await put(running, name, MEDIA + b"x"))[0] == 400
    assert (await put(running, name, MEDIA))[0] == 200


async def raw_put(running: Running, name: str, length: int, sent: bytes) -> asyncio.StreamWriter:
    """A connection that has sent only ``sent`` of the ``length`` bytes that it announced."""
    _, writer = await asyncio.open_unix_connection(running.address.removeprefix("unix:"))
    writer.write(f"PUT {url(name)} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode() + sent)
    await writer.drain()
    return writer


async def written(running: Running, name: str, size: int) -> None:
    """Wait until so much was written."""
    async with asyncio.timeout(5):
        while running.analyses[name].written < size:
            await asyncio.sleep(0.01)


async def test_a_broken_connection_loses_nothing_that_came(running: Running) -> None:
    name = await running.uploading()
    writer = await raw_put(running, name, len(MEDIA), MEDIA[:120_000])
    await written(running, name, 120_000)
    writer.transport.abort()
    job = running.analyses[name]
    async with asyncio.timeout(5):
        while not job.closed:
            await asyncio.sleep(0.01)
    assert await offset(running, name) == ("120000", "?0"), "not complete, though the client has gone"
    assert await put(running, name, MEDIA[120_000:], "bytes 120000-299999/300000") == (200, "300000")
    assert job.digest.hexdigest() == hashlib.sha256(MEDIA).hexdigest()


async def test_chunks_that_are_none_lose_nothing_that_came(running: Running) -> None:
    name = await running.uploading()
    _, writer = await asyncio.open_unix_connection(running.address.removeprefix("unix:"))
    writer.write(f"PUT {url(name)} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    writer.write(b"1000\r\n" + MEDIA[:0x1000] + b"\r\nno chunk\r\n")
    job = running.analyses[name]
    async with asyncio.timeout(5):
        while not job.closed:
            await asyncio.sleep(0.01)
    assert await offset(running, name) in (("4096", "?0"), ("0", "?0")), "never complete"
    assert job.record.upload.committed == job.written
    writer.close()


async def test_only_what_is_on_disk_is_acknowledged(running: Running) -> None:
    name = await running.uploading()
    job = running.analyses[name]
    stall = asyncio.Event()
    settle = job.settle

    def held(state: UploadState) -> UploadState:
        return settle(state) if stall.is_set() else UploadState(job.record.upload.committed)

    job.settle = held  # type: ignore[method-assign]
    writer = await raw_put(running, name, len(MEDIA), MEDIA[:50_000])
    await written(running, name, 50_000)
    assert await offset(running, name) == ("0", "?0"), "written, but not yet on disk"
    stall.set()
    writer.write(MEDIA[50_000:60_000])
    async with asyncio.timeout(5):
        while (await offset(running, name))[0] != "60000":
            await asyncio.sleep(0.02)
    writer.close()


async def test_a_new_connection_takes_a_dead_one_s_upload_over(running: Running) -> None:
    name = await running.uploading()
    stale = await raw_put(running, name, len(MEDIA), MEDIA[:50_000])
    await written(running, name, 50_000)
    assert await put(running, name, MEDIA[50_000:], "bytes 50000-299999/300000") == (200, "300000")
    assert running.analyses[name].digest.hexdigest() == hashlib.sha256(MEDIA).hexdigest()
    stale.close()


@pytest.mark.parametrize(("error", "status"), [(DiskFull("no room"), 507), (MediaTooLarge("too large"), 413)])
async def test_a_limit_in_the_midst_keeps_what_came_before(running: Running, error: Exception, status: int) -> None:
    name = await running.uploading()
    job = running.analyses[name]
    film = MEDIA * 10
    job.refusal, job.refuse_from = error, 2_000_000
    answer = await running.client.put(url(name), content=film)
    assert answer.status_code == status
    kept = int((await offset(running, name))[0])
    assert 1_000_000 < kept <= 2_000_000
    job.refusal = None
    assert await put(running, name, film[kept:], f"bytes {kept}-2999999/3000000") == (200, "3000000")
    assert job.digest.hexdigest() == hashlib.sha256(film).hexdigest()


async def test_a_media_that_is_no_upload(running: Running) -> None:
    name = await running.analysed()
    assert (await put(running, name, MEDIA))[0] == 409
    assert (await running.client.head(url(name))).status_code == 409
    assert (await running.client.head(url("a-9"))).status_code == 404
