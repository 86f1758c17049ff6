"""Local blobs: nothing is acknowledged before it is on the disk, and a crash leaves nothing half."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.blobs import local
from orchestrator.adapters.blobs.local import LocalBlobs
from orchestrator.errors import DiskFull, NotFound
from tests.support.small_disk import fill, small_disk


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to the file system, in order."""
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def recorded_fsync(fd: int) -> None:
        fsync(fd)
        done.append(f"sync {Path(os.readlink(f'/proc/self/fd/{fd}')).name}")

    def recorded_rename(self: Path, target: Path) -> Path:
        done.append(f"rename {self.name} {target.name}")
        return rename(self, target)

    monkeypatch.setattr(local.os, "fsync", recorded_fsync)
    monkeypatch.setattr(Path, "rename", recorded_rename)
    return done


async def test_every_step_is_on_the_disk_before_the_next(tmp_path: Path, steps: list[str]) -> None:
    blobs = LocalBlobs(tmp_path / "blobs")
    await blobs.put("thumbnails/id/1.jpg", b"0")
    assert f"sync {tmp_path.name}" in steps  # the root's own name
    steps.clear()
    await blobs.put("thumbnails/id/1.jpg", b"1")
    written, named, *folders = steps
    temporary = written.removeprefix("sync ")
    assert named == f"rename {temporary} 1.jpg"  # only a file whose bytes are safe gets the name
    assert folders == ["sync id", "sync thumbnails", "sync blobs"]  # and then all names on the way to it


async def test_a_put_that_dies_half_way_leaves_no_blob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = LocalBlobs(tmp_path)
    await blobs.put("a/b", b"old")

    class PowerLossError(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise PowerLossError

    with monkeypatch.context() as patched:
        patched.setattr(local.os, "fsync", die)
        patched.setattr(Path, "unlink", die)
        with pytest.raises(PowerLossError):
            await blobs.put("a/b", b"new")
    assert await blobs.get("a/b") == b"old"
    assert [info.key async for info in blobs.list()] == ["a/b"]
    [left] = (tmp_path / local.INCOMING).iterdir()
    await LocalBlobs(tmp_path).put("c", b"")
    assert left.exists()  # somebody may be at it
    os.utime(left, (0, 0))
    await LocalBlobs(tmp_path).put("c", b"")
    assert not left.exists()


async def test_a_folder_goes_with_its_last_blob(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path)
    await blobs.put("a/b/1", b"")
    await blobs.put("a/2", b"")
    await blobs.delete("a/b/1")
    assert not (tmp_path / "a" / "b").exists()
    await blobs.delete("a/2")
    assert not (tmp_path / "a").exists()
    await blobs.put("a/2", b"")  # the root stays


async def test_a_folder_that_goes_while_it_is_looked_at_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, plain = iter(["b"]), Path.mkdir

    def mkdir(path: Path, *args: Any, **kwargs: Any) -> None:
        if path.name == "b" and next(gone, ""):
            raise FileExistsError(path)
        plain(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    blobs = LocalBlobs(tmp_path)
    await blobs.put("a/b/1", b"1")
    assert (await blobs.get("a/b/1")) == b"1"


async def test_puts_and_deletes_in_one_folder_do_not_disturb_each_other(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path)

    async def come_and_go(name: str) -> None:
        for _ in range(30):
            await blobs.put(f"a/b/{name}", b"1")
            await blobs.delete(f"a/b/{name}")

    await asyncio.gather(*(come_and_go(name) for name in "wxyz"))
    assert [info.key async for info in blobs.list()] == []


async def test_files_that_are_no_blobs_are_not_listed(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path)
    (tmp_path / "with space").touch()
    (tmp_path / ".hidden").touch()
    await blobs.put("a", b"")
    assert [info.key async for info in blobs.list()] == ["a"]


async def test_a_prefix_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    blobs = LocalBlobs(tmp_path / "blobs")
    with pytest.raises(ValueError, match="key"):
        [info async for info in blobs.list("../")]


async def test_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1 << 20) as disk:
        blobs = LocalBlobs(disk / "blobs")
        await blobs.put("a/kept", b"1")
        filler = fill(disk)
        for key in ("a/more", "a/kept", "new/folder"):
            with pytest.raises(DiskFull):
                await blobs.put(key, bytes(100_000))
        assert [info.key async for info in blobs.list()] == ["a/kept"]
        assert await blobs.get("a/kept") == b"1"
        assert list((disk / "blobs" / local.INCOMING).iterdir()) == []  # what was half written takes no room
        filler.unlink()
        await blobs.put("a/more", bytes(100_000))
        await blobs.delete("a/kept")
        with pytest.raises(NotFound):
            await blobs.get("a/kept")
