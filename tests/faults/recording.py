"""A recording of everything that a process did to the files below one folder (see ``recorder.c``)."""

from __future__ import annotations

import ctypes
import os
import posixpath
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

SOURCE = Path(__file__).with_name("recorder.c")
_HEADER = struct.Struct("=B3xiqqII")


class Op(IntEnum):
    """What was done; the numbers are ``enum op`` of ``recorder.c``."""

    OPEN = 1
    WRITE = 2
    TRUNCATE = 3
    TRUNCATE_PATH = 4
    RENAME = 5
    UNLINK = 6
    LINK = 7
    MKDIR = 8
    RMDIR = 9
    SYNC = 10
    CLOSE = 11
    DUP = 12
    ALLOCATE = 13
    MARK = 14
    SYNC_ALL = 15
    UNSUPPORTED = 16


@dataclass(frozen=True, slots=True)
class Record:
    """One call that succeeded. ``a``: flags, offset or size; ``first``: a path or data; ``second``: another path."""

    op: Op
    fd: int
    a: int
    first: bytes
    second: bytes

    @property
    def path(self) -> str:
        """``first`` as a path."""
        return posixpath.normpath(os.fsdecode(self.first))

    @property
    def other(self) -> str:
        """``second`` as a path."""
        return posixpath.normpath(os.fsdecode(self.second))


def build_recorder(folder: Path) -> Path:
    """Compile the recorder into ``folder``. ``AssertionError`` where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "the loss of power cannot be simulated without a C compiler: apt-get install gcc libc6-dev"
    library = folder / "recorder.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl", "-lpthread"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library


def record(command: Sequence[str], root: Path, log: Path, library: Path, environment: Mapping[str, str]) -> None:
    """Run ``command`` and write what it does below ``root`` to ``log``. ``AssertionError`` when it fails."""
    assert str(root) == os.path.realpath(root), "the recorder compares paths as they are written"
    ours = {"LD_PRELOAD": str(library), "FAULTS_ROOT": str(root), "FAULTS_LOG": str(log)}
    done = subprocess.run(command, env={**environment, **ours}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} left with {done.returncode}:\n{done.stdout}\n{done.stderr}"


def mark(text: str) -> None:
    """Put ``text`` into the recording of this process; what was done before is before it. Nothing when none runs."""
    data = text.encode()
    if _mark is not None:
        _mark(data, ctypes.c_size_t(len(data)))


def read(log: Path) -> Iterator[Record]:
    """The records of a log, in order. ``AssertionError`` for what the recorder cannot follow."""
    data = memoryview(log.read_bytes())
    at = 0
    while at < len(data):
        op, fd, a, _, first, second = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        record = Record(Op(op), fd, a, bytes(data[at : at + first]), bytes(data[at + first : at + first + second]))
        assert record.op is not Op.UNSUPPORTED, f"the recorder cannot follow {record.first.decode()}"
        yield record
        at += first + second


_mark = getattr(ctypes.CDLL(None), "faults_mark", None)
