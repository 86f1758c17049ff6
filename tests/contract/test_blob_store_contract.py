"""What every blob store promises, whatever it is made of."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orchestrator.adapters.blobs.local import LocalBlobs
from orchestrator.adapters.blobs.s3 import S3Blobs
from orchestrator.errors import NotFound
from orchestrator.ports import BlobStore
from tests.support.s3 import make_bucket, s3_server

Opener = Callable[[], BlobStore]
HOUR_NS = 3600 * 10**9


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture(params=["local", "s3", "s3 below a prefix"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Opens the same, empty store again and again."""
    if request.param == "local":
        return lambda: LocalBlobs(tmp_path / "blobs")
    endpoint = request.getfixturevalue("s3_endpoint")
    bucket = make_bucket(endpoint, f"blobs-{uuid.uuid4().hex}")
    url = f"{bucket}/some/prefix" if "prefix" in request.param else bucket
    return lambda: S3Blobs(url, endpoint=endpoint)


@pytest.fixture
def blobs(opener: Opener) -> BlobStore:
    return opener()


async def keys(blobs: BlobStore, prefix: str = "") -> list[str]:
    return [info.key async for info in blobs.list(prefix)]


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 4096], ids=["empty", "a byte", "a MiB"])
async def test_what_is_put_can_be_had(blobs: BlobStore, data: bytes) -> None:
    await blobs.put("thumbnails/a-1/000001.jpg", data)
    assert await blobs.get("thumbnails/a-1/000001.jpg") == data


async def test_another_opening_sees_it(opener: Opener) -> None:
    await opener().put("a", b"1")
    assert await opener().get("a") == b"1"
    assert await keys(opener()) == ["a"]


async def test_the_last_put_counts(blobs: BlobStore) -> None:
    await blobs.put("a/b", b"a longer one")
    await blobs.put("a/b", b"short")
    assert await blobs.get("a/b") == b"short"
    assert [info.size async for info in blobs.list()] == [5]


@pytest.mark.parametrize("key", ["nothing", "a", "a/b/c", "a/b/c/d"])
async def test_what_is_not_there(blobs: BlobStore, key: str) -> None:
    await blobs.put("a/b", b"1")
    with pytest.raises(NotFound):
        await blobs.get(key)
    await blobs.delete(key)
    assert await blobs.get("a/b") == b"1"


async def test_a_deleted_blob_is_gone(blobs: BlobStore) -> None:
    await blobs.put("a/b/c", b"1")
    await blobs.put("a/d", b"2")
    await blobs.delete("a/b/c")
    with pytest.raises(NotFound):
        await blobs.get("a/b/c")
    assert await keys(blobs) == ["a/d"]
    await blobs.put("a/b/c", b"3")  # and can come back
    assert await blobs.get("a/b/c") == b"3"


async def test_listing_is_in_order_of_keys(blobs: BlobStore) -> None:
    names = ["a-b/x", "a.b", "a/b", "a/b.c", "aB", "a_", "b/1/2/3", "B", "0", "a/b-/z", "thumbnails/9", "thumbnails/10"]
    for name in names:
        await blobs.put(name, name.encode())
    assert await keys(blobs) == sorted(names)
    sizes = {info.key: info.size async for info in blobs.list()}
    assert sizes == {name: len(name) for name in names}


async def test_a_prefix_may_end_anywhere(blobs: BlobStore) -> None:
    for name in ("a", "ab", "ab/1", "ab/12", "ab/2", "abc/1", "b"):
        if name != "ab":  # a key is a blob or a folder of blobs, not both
            await blobs.put(name, b"")
    assert await keys(blobs, "a") == ["a", "ab/1", "ab/12", "ab/2", "abc/1"]
    assert await keys(blobs, "ab") == ["ab/1", "ab/12", "ab/2", "abc/1"]
    assert await keys(blobs, "ab/") == ["ab/1", "ab/12", "ab/2"]
    assert await keys(blobs, "ab/1") == ["ab/1", "ab/12"]
    assert await keys(blobs, "c") == []
    assert await keys(blobs, "c/d/e") == []


async def test_an_age_is_counted_from_the_put(blobs: BlobStore) -> None:
    await blobs.put("a", b"")
    [info] = [info async for info in blobs.list()]
    assert 0 <= info.age_ns < HOUR_NS


@pytest.mark.parametrize(
    "key", ["", "/", "a/", "/a", "a//b", "..", "../a", "a/../b", ".hidden", "a/.b", "a b", "ä", "a\n", "a\0", "x" * 256]
)
async def test_what_is_no_key(blobs: BlobStore, key: str) -> None:
    for attempt in (blobs.put(key, b""), blobs.get(key), blobs.delete(key)):
        with pytest.raises(ValueError, match="key"):
            await attempt


async def test_many_at_once(blobs: BlobStore) -> None:
    names = [f"thumbnails/{index % 3}/{index:03}" for index in range(60)]
    await asyncio.gather(*(blobs.put(name, name.encode()) for name in names))
    assert await asyncio.gather(*map(blobs.get, names)) == [name.encode() for name in names]
    assert await keys(blobs) == sorted(names)


async def test_a_reader_sees_a_whole_blob_or_none(blobs: BlobStore) -> None:
    sizes = (1, 3_000_000)
    await blobs.put("a", b"0")

    async def write() -> None:
        for turn in range(12):
            await blobs.put("a", bytes([turn]) * sizes[turn % 2])

    writing = asyncio.create_task(write())
    while not writing.done():
        data = await blobs.get("a")
        assert len(data) in sizes
        assert len(set(data)) == 1
    await writing
