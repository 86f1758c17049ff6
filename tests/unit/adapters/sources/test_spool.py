"""The spool: what is committed can be read, in order, bounded, and without a name."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.adapters.sources.spool import Spool
from orchestrator.errors import DiskFull, MediaTooLarge, UploadOutOfOrder


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path, limit=100) as spool:
        yield spool


def page(spool: Spool) -> tuple[int, ...]:
    return struct.unpack("<qq", os.pread(spool.control_fd, 16, 0))


def test_bytes_arrive_and_the_page_says_so(spool: Spool) -> None:
    assert page(spool) == (0, 0)
    assert spool.append(b"hello") == 5
    assert spool.append(memoryview(b" world"), offset=5) == 11
    assert page(spool) == (11, 0)
    assert os.pread(spool.fileno(), 100, 0) == b"hello world"
    assert not spool.complete
    spool.finish()
    assert spool.complete
    assert page(spool) == (11, 1)


def test_a_chunk_that_does_not_continue_is_refused(spool: Spool) -> None:
    spool.append(b"abc")
    with pytest.raises(UploadOutOfOrder) as caught:
        spool.append(b"x", offset=7)
    assert caught.value.detail == {"expected_offset": "3"}
    assert spool.committed == 3


def test_nothing_follows_the_end(spool: Spool) -> None:
    spool.finish()
    with pytest.raises(UploadOutOfOrder):
        spool.append(b"x")
    spool.abort()
    assert spool.complete, "a whole upload cannot be given up any more"


def test_an_aborted_upload_is_not_complete(spool: Spool) -> None:
    spool.append(b"x")
    spool.abort()
    assert page(spool) == (1, 2)
    assert not spool.complete


def test_the_limit_holds(spool: Spool) -> None:
    spool.append(bytes(100))
    with pytest.raises(MediaTooLarge):
        spool.append(b"x")
    assert spool.committed == 100


def test_a_full_disk_is_typed_and_keeps_what_was_committed(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.append(b"abc")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(DiskFull):
        spool.append(b"defg")
    monkeypatch.undo()
    assert spool.committed == 3
    assert spool.append(b"de") == 5
    assert os.pread(spool.fileno(), 10, 0) == b"abcde"


def test_short_writes_are_continued(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: write(fd, data[:3], at))
    spool.append(b"0123456789")
    assert os.pread(spool.fileno(), 10, 0) == b"0123456789"


def test_readers_cannot_write_and_no_name_is_left(spool: Spool, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.pwrite(spool.fileno(), b"x", 0)
    assert list(tmp_path.iterdir()) == []


def test_closing_leaves_no_descriptor(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    spool = Spool(tmp_path)
    spool.append(b"x")
    spool.close()
    spool.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_missing_directory_leaves_no_descriptor(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        Spool(tmp_path / "nowhere")
    assert len(os.listdir("/proc/self/fd")) == before
