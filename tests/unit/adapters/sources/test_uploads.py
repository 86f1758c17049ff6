"""An upload stores chunks by offset: repeats are fine, gaps are not, and closing waits for a write."""

import os

import pytest

from orchestrator.adapters.sources.sources import Sources, SpoolUpload
from orchestrator.errors import MediaTooLarge, SourceNotAllowed, UploadOutOfOrder


async def test_chunks_may_repeat_and_overlap_but_leave_no_gap(tmp_path):
    with SpoolUpload(tmp_path, 100) as upload:
        assert await upload.append(0, b"abcdef") == 6
        assert await upload.append(0, b"abcdef") == 6
        assert await upload.append(4, b"efgh") == 8
        assert await upload.append(8, b"") == 8
        with pytest.raises(UploadOutOfOrder) as caught:
            await upload.append(20, b"x")
        assert caught.value.detail["expected_offset"] == "8"
        with pytest.raises(MediaTooLarge):
            await upload.append(8, bytes(93))
        assert os.pread(upload.fileno(), 100, 0) == b"abcdefgh"


async def test_a_closed_upload_takes_nothing(tmp_path):
    upload = SpoolUpload(tmp_path)
    upload.close()
    upload.close()
    with pytest.raises((UploadOutOfOrder, ValueError)):
        await upload.append(0, b"late")


async def test_paths_only_below_the_roots(tmp_path):
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "a.mp4").write_bytes(b"12345")
    (tmp_path / "b.mp4").write_bytes(b"1")
    sources = Sources((inside,), tmp_path, 4)
    with pytest.raises(SourceNotAllowed):
        await sources.open_path(str(tmp_path / "b.mp4"))
    with pytest.raises(MediaTooLarge):
        await sources.open_path(str(inside / "a.mp4"))
