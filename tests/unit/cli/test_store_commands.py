"""``reelsift backup``, ``restore``, ``cleanup`` and ``doctor --store`` from the outside, on an embedded database."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from orchestrator.adapters.stores.sql import open_store
from orchestrator.adapters.stores.sqlite import FILE_NAME
from orchestrator.cli import exits
from orchestrator.cli.main import app
from orchestrator.errors import DiskFull, InternalError, SetupError
from tests.support.backups import REPORT, contents, furnish, place_of
from tests.support.small_disk import small_disk

runner = CliRunner()


@pytest.fixture
def data_dir(sqlite_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data directory of a furnished store, which the environment names."""
    monkeypatch.setenv("REELSIFT_DATA_DIR", str(sqlite_dir))

    async def fill() -> None:
        async with open_store(sqlite_dir) as store:
            await furnish(store, place_of(sqlite_dir, sqlite_dir))

    asyncio.run(fill())
    return sqlite_dir


def reelsift(*arguments: str | Path) -> Result:
    return runner.invoke(app, list(map(str, arguments)))


def checks(*arguments: str | Path) -> dict[str, str]:
    return {
        check["name"]: check["state"]
        for check in json.loads(reelsift("doctor", "--store", "--json", *arguments).stdout)
    }


def test_backup_and_restore(data_dir: Path, tmp_path: Path) -> None:
    before = contents(data_dir)
    made = reelsift("backup", tmp_path / "backup")
    assert made.exit_code == exits.OK, made.output
    assert "4 analyses" in made.stdout
    shutil.rmtree(data_dir)
    back = reelsift("restore", tmp_path / "backup")
    assert back.exit_code == exits.OK, back.output
    assert contents(data_dir) == before
    assert reelsift("doctor", "--store").exit_code == exits.OK
    again = reelsift("restore", tmp_path / "backup")
    assert isinstance(again.exception, SetupError)
    assert reelsift("restore", tmp_path / "backup", "--force").exit_code == exits.OK


def test_options_name_another_store(data_dir: Path, tmp_path: Path) -> None:
    assert reelsift("backup", tmp_path / "backup").exit_code == exits.OK
    assert reelsift("restore", tmp_path / "backup", "--data-dir", tmp_path / "other").exit_code == exits.OK
    assert contents(tmp_path / "other") == contents(data_dir)


def test_a_damaged_backup_is_named(data_dir: Path, tmp_path: Path) -> None:
    reelsift("backup", tmp_path / "backup")
    (tmp_path / "backup" / "uploads" / "growing").write_bytes(b"")
    refused = reelsift("restore", tmp_path / "backup", "--force")
    assert isinstance(refused.exception, SetupError)
    assert "uploads/growing" in str(refused.exception)


def test_a_backup_with_something_missing_is_partial(data_dir: Path, tmp_path: Path) -> None:
    (data_dir / "blobs" / REPORT).unlink()
    made = reelsift("backup", tmp_path / "backup")
    assert made.exit_code == exits.PARTIAL
    assert f"blobs/{REPORT}" in made.stderr


def test_a_backup_that_is_read_back(data_dir: Path, tmp_path: Path) -> None:
    made = reelsift("backup", tmp_path / "backup", "--verify")
    assert made.exit_code == exits.OK, made.output
    assert "read back" in made.stdout


def test_a_series_of_backups(data_dir: Path, tmp_path: Path) -> None:
    made = reelsift("backup", tmp_path / "backups", "--keep", "2")
    assert made.exit_code == exits.OK, made.output
    (first,) = (each for each in (tmp_path / "backups").iterdir() if each.is_dir())
    assert f"in {first}, read back" in " ".join(made.stdout.split())
    old = first.rename(first.with_name("20200101T000000Z"))
    older = first.with_name("20190101T000000Z")
    shutil.copytree(old, older)
    again = reelsift("backup", tmp_path / "backups", "--keep", "2")
    assert again.exit_code == exits.OK, again.output
    assert f"gone: {older.name}" in again.stdout
    assert old.is_dir()
    assert not older.exists()
    assert reelsift("restore", old, "--force").exit_code == exits.OK


def test_a_series_with_something_missing_is_partial(data_dir: Path, tmp_path: Path) -> None:
    (data_dir / "blobs" / REPORT).unlink()
    assert reelsift("backup", tmp_path / "backups", "--keep", "1").exit_code == exits.PARTIAL


def test_days_without_a_series(data_dir: Path, tmp_path: Path) -> None:
    assert reelsift("backup", tmp_path / "backup", "--keep-days", "3").exit_code == exits.USAGE
    assert not (tmp_path / "backup").exists()


def test_no_store_at_all(tmp_path: Path) -> None:
    for command in (("backup", tmp_path / "backup"), ("cleanup", "--dry-run")):
        failed = reelsift(*command, "--data-dir", tmp_path / "none")
        assert isinstance(failed.exception, SetupError)
    assert reelsift("doctor", "--store", "--data-dir", tmp_path / "none").exit_code == exits.FAILED
    assert not (tmp_path / "none").exists()


def test_cleanup(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELSIFT_RETENTION__UPLOADS__MAX_AGE_SECONDS", "0")
    would = reelsift("cleanup", "--dry-run")
    assert would.exit_code == exits.OK, would.output
    assert "uploaded" in would.stdout
    assert "would go" in would.stdout
    assert (data_dir / "uploads" / "uploaded").exists()
    assert "are gone" in reelsift("cleanup").stdout
    assert not (data_dir / "uploads" / "uploaded").exists()
    assert (data_dir / "uploads" / "growing").exists()


async def test_beside_a_server(data_dir: Path, tmp_path: Path) -> None:
    async with open_store(data_dir):
        refused = await asyncio.to_thread(reelsift, "cleanup")
        assert isinstance(refused.exception, SetupError)
        for command in (("cleanup", "--dry-run"), ("doctor", "--store"), ("backup", tmp_path / "backup")):
            result = await asyncio.to_thread(reelsift, *command)
            assert result.exit_code == exits.OK, result.output


def test_the_doctor_finds_nothing_wrong(data_dir: Path) -> None:
    assert set(checks().values()) == {"ok"}


def test_the_doctor_finds_what_is_missing(data_dir: Path) -> None:
    (data_dir / "blobs" / REPORT).write_bytes(b"cut")
    (data_dir / "uploads" / "growing").unlink()
    found = checks()
    assert found["blobs"] == "FAIL"
    assert found["uploads"] == "FAIL"
    assert reelsift("doctor", "--store").exit_code == exits.FAILED


def test_the_doctor_lists_orphans(data_dir: Path) -> None:
    orphan = data_dir / "uploads" / "orphan"
    orphan.write_bytes(b"1")
    assert checks()["orphans"] == "ok"  # somebody may be about to name it
    os.utime(orphan, (0, 0))
    assert checks()["orphans"] == "warn"
    assert reelsift("doctor", "--store").exit_code == exits.OK


def test_the_doctor_finds_a_damaged_database(data_dir: Path) -> None:
    file = data_dir / FILE_NAME
    file.write_bytes(file.read_bytes()[:5000])
    assert "FAIL" in checks().values()
    file.write_bytes(b"no database at all" * 1000)
    assert "FAIL" in checks().values()


def test_no_room_for_a_backup(data_dir: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", 1 << 16) as disk:
        failed = reelsift("backup", disk / "backup")
    assert isinstance(failed.exception, DiskFull)


def test_a_damaged_database_is_not_backed_up(data_dir: Path, tmp_path: Path) -> None:
    file = data_dir / FILE_NAME
    whole = file.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"no database at all" * 1000):
        file.write_bytes(damaged)
        failed = reelsift("backup", tmp_path / "backup")
        assert isinstance(failed.exception, InternalError)
        shutil.rmtree(tmp_path / "backup")
