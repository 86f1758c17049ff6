"""Uploads: they grow under one writer, are read meanwhile, and outlive both."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.adapters.sources.uploads import Uploads
from orchestrator.core.jobs import UploadState
from orchestrator.errors import MediaTooLarge, SourceGone, UploadOutOfOrder

EMPTY = UploadState()


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path / "uploads", limit=100)


def content(media) -> bytes:
    return os.pread(media.fileno(), media.committed, 0)


async def test_a_reader_sees_what_is_written_and_hears_of_the_end(uploads: Uploads) -> None:
    media = uploads.reader("one", EMPTY)
    writer = uploads.writer("one", EMPTY)
    assert (media.committed, media.complete) == (0, False)
    assert await writer.append(0, b"abc") == 3
    assert (content(media), media.complete) == (b"abc", False)
    assert await writer.sync() == 3
    writer.finish()
    assert media.complete
    with pytest.raises(OSError):
        os.pwrite(media.fileno(), b"x", 0)
    writer.close()
    media.close()
    media.close()


async def test_what_is_there_already_is_ignored_and_a_gap_refused(uploads: Uploads) -> None:
    writer = uploads.writer("one", EMPTY)
    await writer.append(0, b"abcd")
    assert await writer.append(2, b"cdef") == 6
    assert await writer.append(0, b"abc") == 6
    with pytest.raises(UploadOutOfOrder) as caught:
        await writer.append(7, b"x")
    assert caught.value.detail == {"expected_offset": "6"}
    with uploads_reader(uploads, "one") as media:
        assert content(media) == b"abcdef"
    writer.close()


class uploads_reader:  # noqa: N801
    def __init__(self, uploads: Uploads, name: str, state: UploadState = EMPTY) -> None:
        self._media = uploads.reader(name, state)

    def __enter__(self):
        return self._media

    def __exit__(self, *_: object) -> None:
        self._media.close()


async def test_a_later_writer_takes_over_from_the_earlier_ones_last_byte(uploads: Uploads) -> None:
    first = uploads.writer("one", EMPTY)
    await first.append(0, b"abc")
    second = uploads.writer("one", EMPTY)
    assert second.committed == 3
    for refused in (first.append(3, b"x"), first.sync()):
        with pytest.raises(UploadOutOfOrder):
            await refused
    assert await second.append(3, b"d") == 4
    assert uploads.being_written("one")
    first.close()
    assert uploads.being_written("one")
    second.close()
    assert not uploads.being_written("one")


async def test_opened_again_only_what_was_synchronised_is_there(uploads: Uploads) -> None:
    writer = uploads.writer("one", EMPTY)
    await writer.append(0, b"abcdef")
    writer.close()
    again = uploads.writer("one", UploadState(4))
    assert again.committed == 4
    assert await again.append(4, b"EF") == 6
    with uploads_reader(uploads, "one") as media:
        assert content(media) == b"abcdEF"
    again.close()
    with uploads_reader(uploads, "one", UploadState(6, complete=True)) as media:
        assert (content(media), media.complete) == (b"abcdEF", True)


async def test_a_caller_that_knows_less_than_was_synchronised_cuts_nothing_off(uploads: Uploads) -> None:
    writer = uploads.writer("one", EMPTY)
    await writer.append(0, b"abc")
    await writer.sync()
    await writer.append(3, b"not on disk")
    writer.close()
    with uploads_reader(uploads, "one", UploadState(1)) as media:
        assert content(media) == b"abc"
    again = uploads.writer("one", UploadState(2))
    await again.append(3, b"d")
    await again.sync()
    again.finish()
    again.close()
    with uploads_reader(uploads, "one", EMPTY) as media:
        assert (content(media), media.complete) == (b"abcd", True)


async def test_bytes_that_are_gone_are_told(uploads: Uploads) -> None:
    with pytest.raises(SourceGone):
        uploads.reader("one", UploadState(1))
    writer = uploads.writer("one", EMPTY)
    await writer.append(0, b"ab")
    writer.close()
    with pytest.raises(SourceGone):
        uploads.writer("one", UploadState(3))
    assert uploads.kept("one")
    uploads.delete("one")
    uploads.delete("one")
    assert not uploads.kept("one")


async def test_nothing_follows_the_end_nor_passes_the_limit(uploads: Uploads) -> None:
    writer = uploads.writer("one", EMPTY)
    with pytest.raises(MediaTooLarge):
        await writer.append(0, bytes(101))
    assert await writer.append(0, bytes(100)) == 100
    writer.finish()
    assert await writer.append(100, b"") == 100
    with pytest.raises(UploadOutOfOrder):
        await writer.append(99, b"xy")
    writer.close()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".", "a" * 129])
def test_no_id_leads_out_of_the_directory(uploads: Uploads, name: str) -> None:
    with pytest.raises(ValueError):
        uploads.reader(name, EMPTY)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 30)), max_size=12))
async def test_any_order_of_chunks_of_one_file_gives_a_prefix_of_it(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[tuple[int, int]]
) -> None:
    file = bytes(range(100))
    uploads = Uploads(tmp_path_factory.mktemp("uploads"), limit=100)
    writer = uploads.writer("one", EMPTY)
    for offset, size in chunks:
        before = writer.committed
        try:
            assert await writer.append(offset, file[offset : offset + size]) >= before
        except UploadOutOfOrder:
            assert offset > before
    with uploads_reader(uploads, "one") as media:
        assert content(media) == file[: writer.committed]
    writer.close()
