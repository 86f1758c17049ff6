"""The disk that loses its power: careful programs lose nothing on it, careless ones do, and nothing goes unrecorded."""

from __future__ import annotations

import os
import random
import sqlite3
import sys
from pathlib import Path

import pytest

from tests.acceptance.server import environment
from tests.faults.disk import Disk, found, restore
from tests.faults.recording import Op, Record, build_recorder, read, record

CAREFUL = """
def put(name, data):
    with open(name + ".new", "wb") as file:
        file.write(data); file.flush(); os.fsync(file.fileno())
    os.rename(name + ".new", name)
    folder = os.open(".", os.O_RDONLY); os.fsync(folder); os.close(folder)
"""
NO_FILE_SYNC = CAREFUL.replace("os.fsync(file.fileno())", "")
NO_NAME_SYNC = CAREFUL.replace("os.fsync(folder);", "")
IN_PLACE = """
def put(name, data):
    with open(name, "wb") as file:
        file.write(data); file.flush(); os.fsync(file.fileno())
    folder = os.open(".", os.O_RDONLY); os.fsync(folder); os.close(folder)
"""
PUTS = """
from tests.faults.recording import mark
os.chdir(sys.argv[1])
for step in range(20):
    put(f"file-{step % 3}", bytes([step]) * 2000)
    mark(f"file-{step % 3} {step}")
"""


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_recorder(tmp_path_factory.mktemp("recorder"))


def recorded(program: str, folder: Path, recorder: Path) -> tuple[Path, list[Record]]:
    root = Path(os.path.realpath(folder)) / "data"
    root.mkdir()
    line = [sys.executable, "-c", "import os, sys\n" + program, str(root)]
    record(line, root, folder / "log", recorder, {**environment(), "PYTHONPATH": os.getcwd()})
    return root, list(read(folder / "log"))


@pytest.mark.parametrize(
    ("program", "safe"), [(CAREFUL, True), (NO_FILE_SYNC, False), (NO_NAME_SYNC, False), (IN_PLACE, False)]
)
def test_only_the_careful_program_loses_nothing(program: str, safe: bool, tmp_path: Path, recorder: Path) -> None:
    root, records = recorded(program + PUTS, tmp_path, recorder)
    dice, lost = random.Random(7), 0
    for _ in range(60):
        disk, acknowledged = Disk(str(root)), dict[str, int]()
        for each in records[: dice.randrange(len(records))]:
            disk.play(each)
            if each.op is Op.MARK:
                name, step = each.first.decode().split()
                acknowledged[name] = int(step)
        image = disk.after_loss(dice)
        for name, last in acknowledged.items():
            content = image.get(f"{root}/{name}") or b"none"
            whole = len(content) == 2000 and len(set(content)) == 1 and content[0] >= last
            lost += not whole
    assert (lost == 0) == safe


def test_the_recording_is_whole(tmp_path: Path, recorder: Path) -> None:
    """Played back to its end it gives what the process left, byte for byte."""
    program = """
import shutil, sqlite3
os.chdir(sys.argv[1])
os.makedirs("one/two")
base = sqlite3.connect("base.sqlite", isolation_level=None)
base.execute("PRAGMA journal_mode=TRUNCATE")
base.execute("CREATE TABLE t (a, b)")
for step in range(30):
    base.execute("INSERT INTO t VALUES (?, ?)", (step, os.urandom(3000)))
base.execute("DELETE FROM t WHERE a % 3 = 0")
with open("one/file", "wb") as file:
    file.write(b"x" * 5000); file.flush(); file.truncate(700); os.pwrite(file.fileno(), b"yy", 900)
    copy = os.dup(file.fileno()); os.write(copy, b"!"); os.close(copy)
    os.posix_fallocate(file.fileno(), 0, 9000)
os.link("one/file", "one/two/link")
with open("one/gone", "wb") as gone:
    gone.write(b"z"); os.unlink("one/gone")
with open("one/file", "ab") as file:
    file.write(b"more")
os.mkdir("three"); os.rmdir("three")
os.rename("one/two/link", "renamed")
"""
    root, records = recorded(program, tmp_path, recorder)
    disk = Disk(str(root))
    for each in records:
        disk.play(each)
    assert disk.seen() == found(root)
    assert any(each.op is Op.SYNC for each in records)


def test_what_cannot_be_followed_is_refused(tmp_path: Path, recorder: Path) -> None:
    program = """
import mmap
with open(sys.argv[1] + "/mapped", "wb+") as file:
    file.truncate(4096); mmap.mmap(file.fileno(), 4096)
"""
    with pytest.raises(AssertionError, match="cannot follow a writable shared mapping"):
        recorded(program, tmp_path, recorder)


def test_a_restored_image_opens(tmp_path: Path, recorder: Path) -> None:
    program = """
import sqlite3
from tests.faults.recording import mark
base = sqlite3.connect(sys.argv[1] + "/base.sqlite", isolation_level=None)
base.execute("PRAGMA journal_mode=TRUNCATE")
base.execute("PRAGMA synchronous=FULL")
base.execute("CREATE TABLE t (a, b)")
for step in range(40):
    base.execute("INSERT INTO t VALUES (?, ?)", (step, os.urandom(1500)))
    mark(str(step + 1))
"""
    root, records = recorded(program, tmp_path, recorder)
    dice = random.Random(3)
    for turn in range(40):
        disk, rows = Disk(str(root)), 0
        for each in records[: dice.randrange(len(records))]:
            disk.play(each)
            rows = int(each.first) if each.op is Op.MARK else rows
        to = tmp_path / str(turn)
        restore(disk.after_loss(dice), str(root), to)
        base = sqlite3.connect(to / "base.sqlite")
        if rows:
            assert base.execute("SELECT count(*) FROM t").fetchone()[0] >= rows
        assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        base.close()
