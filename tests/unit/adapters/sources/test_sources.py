"""Sources by reference: a file stays the file that it was, an upload is found by its id."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.adapters.sources.sources import Sources
from orchestrator.core.jobs import SourceKind, SourceRef, UploadState
from orchestrator.errors import MediaTooLarge, SourceChanged, SourceNotAllowed


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "a.mp4").write_bytes(b"1234")
    (inside / "large.mp4").write_bytes(bytes(5))
    (tmp_path / "b.mp4").write_bytes(b"1")
    return Sources((inside,), tmp_path / "uploads", limit=4)


async def test_paths_only_below_the_roots(sources: Sources, tmp_path: Path) -> None:
    with pytest.raises(SourceNotAllowed):
        await sources.examine(str(tmp_path / "b.mp4"))
    with pytest.raises(MediaTooLarge):
        await sources.examine(str(tmp_path / "in" / "large.mp4"))


async def test_a_file_that_is_another_by_now_is_refused(sources: Sources, tmp_path: Path) -> None:
    path = tmp_path / "in" / "a.mp4"
    found = await sources.examine(str(path))
    assert (found.kind, found.size) == (SourceKind.PATH, 4)
    media = await sources.open(found, UploadState())
    assert os.pread(media.fileno(), 9, 0) == b"1234"
    media.close()
    path.write_bytes(b"4321")
    os.utime(path, ns=(1, 1))
    with pytest.raises(SourceChanged):
        await sources.open(found, UploadState())


async def test_an_upload_is_kept_until_it_is_deleted(sources: Sources) -> None:
    upload = SourceRef(SourceKind.UPLOAD, "one")
    assert not sources.kept(upload)
    writer = sources.write("one", UploadState())
    await writer.append(0, b"123")
    await writer.sync()
    media = await sources.open(upload, UploadState(3))
    assert (sources.being_written("one"), sources.kept(upload), media.committed) == (True, True, 3)
    writer.close()
    media.close()
    sources.delete("one")
    assert not sources.kept(upload)
