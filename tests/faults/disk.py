"""A disk that loses its power: what may be on it afterwards, by POSIX alone.

Only ``fsync`` promises anything, of a file its bytes and size, of a directory its names. Everything younger may have reached the
disk or not, sector by sector and name by name, in any order; a sector is whole. A file that grew may hold nothing or stale
bytes where nothing was written. To rename and to cut a file off are atomic, as on every journalling file system.
"""

from __future__ import annotations

import os
import posixpath
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.recording import Op, Record

SECTOR = 512


@dataclass(frozen=True, slots=True)
class Change:
    """Bytes written at an offset, or (``data`` is ``None``) a new size."""

    at: int
    data: bytes | None


class File:
    """A file's bytes: those that every process sees, those on the disk, and the changes between them."""

    def __init__(self) -> None:
        self.now = bytearray()
        self.durable = bytearray()
        self.pending: list[Change] = []

    def write(self, at: int, data: bytes) -> None:
        self._change(Change(at, data))

    def resize(self, size: int) -> None:
        self._change(Change(size, None))

    def sync(self) -> None:
        for change in self.pending:
            _apply(self.durable, change)
        self.pending.clear()

    def _change(self, change: Change) -> None:
        _apply(self.now, change)
        self.pending.append(change)

    def after_loss(self, dice: random.Random) -> bytes:
        """What the disk may hold: of each sector, and of the size, some state since the last ``fsync``."""
        last = len(self.pending)
        if not last:
            return bytes(self.durable)
        image, size, size_until = bytearray(self.durable), len(self.durable), _some(dice, last)
        reached: dict[int, int] = {}  # by sector: how many of the changes it has seen

        def sees(sector: int, index: int) -> bool:
            return index < reached.setdefault(sector, _some(dice, last))

        for index, change in enumerate(self.pending):
            if change.data is None:
                if index < size_until:
                    size = change.at
                    image[size:] = bytes(max(0, len(image) - size))
                continue
            end = change.at + len(change.data)
            size = max(size, end) if index < size_until else size
            if len(image) < end:
                image += dice.randbytes(end - len(image)) if dice.random() < 0.25 else bytes(end - len(image))
            for sector in range(change.at // SECTOR, -(-end // SECTOR)):
                if sees(sector, index):
                    low, high = max(change.at, sector * SECTOR), min(end, (sector + 1) * SECTOR)
                    image[low:high] = change.data[low - change.at : high - change.at]
        return bytes(image[:size]) + bytes(max(0, size - len(image)))


def _apply(content: bytearray, change: Change) -> None:
    size = change.at if change.data is None else change.at + len(change.data)
    if len(content) < size:
        content += bytes(size - len(content))
    if change.data is None:
        del content[change.at :]
    else:
        content[change.at : size] = change.data


def _some(dice: random.Random, last: int) -> int:
    """None of ``last`` changes, all of them, or the first few."""
    return dice.choice((0, last, dice.randint(0, last)))


Names = dict[str, "File | None"]  # by path; ``None`` is a directory


@dataclass(frozen=True, slots=True)
class Naming:
    """An atomic change of names: what each path names from then on, or that it is gone."""

    sets: tuple[tuple[str, File | None], ...] = ()
    removes: tuple[str, ...] = ()

    @property
    def paths(self) -> frozenset[str]:
        return frozenset((*self.removes, *(path for path, _ in self.sets)))

    def apply(self, names: Names) -> None:
        for path in self.removes:
            names.pop(path, None)
        names.update(self.sets)


@dataclass
class Disk:
    """The files below ``root``, as a recording tells them. ``obeys``: whether ``fsync`` of files and of directories has any
    effect, which a test takes away to see that it matters."""

    root: str
    obeys: tuple[bool, bool] = (True, True)
    now: Names = field(default_factory=dict)
    durable: Names = field(default_factory=dict)
    pending: list[Naming] = field(default_factory=list)
    _open: dict[int, str | File] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.now[self.root] = self.durable[self.root] = None

    def play(self, record: Record) -> None:
        """What a record did. ``AssertionError`` when it cannot have happened, so that something was not recorded."""
        match record.op:
            case Op.OPEN:
                self._opened(record)
            case Op.WRITE:
                self._file(record.fd).write(record.a, record.first)
            case Op.TRUNCATE:
                self._file(record.fd).resize(record.a)
            case Op.ALLOCATE:
                file = self._file(record.fd)
                file.resize(max(record.a, len(file.now)))
            case Op.TRUNCATE_PATH:
                self._named(record.path).resize(record.a)
            case Op.RENAME:
                moved = self.now[record.path]
                assert moved is not None, "a directory that changes its name is beyond this disk"
                self._name(Naming(sets=((record.other, moved),), removes=(record.path,)))
            case Op.LINK:
                self._name(Naming(sets=((record.other, self._named(record.path)),)))
            case Op.UNLINK | Op.RMDIR:
                self._name(Naming(removes=(record.path,)))
            case Op.MKDIR:
                self._name(Naming(sets=((record.path, None),)))
            case Op.SYNC:
                self._sync(self._open[record.fd])
            case Op.SYNC_ALL:
                for each in list(self.now):
                    self._sync(self.now[each] or each)
            case Op.CLOSE:
                del self._open[record.fd]
            case Op.DUP:
                self._open[record.a] = self._open[record.fd]
            case Op.MARK | Op.UNSUPPORTED:
                pass

    def _opened(self, record: Record) -> None:
        path = record.path
        if path not in self.now:
            assert record.a & os.O_CREAT, f"{path} was opened, but never made"
            self._name(Naming(sets=((path, File()),)))
        found = self.now[path]
        self._open[record.fd] = path if found is None else found
        if record.a & os.O_TRUNC and found is not None:
            found.resize(0)

    def _file(self, fd: int) -> File:
        found = self._open[fd]
        assert isinstance(found, File)
        return found

    def _named(self, path: str) -> File:
        found = self.now[path]
        assert found is not None
        return found

    def _name(self, naming: Naming) -> None:
        naming.apply(self.now)
        self.pending.append(naming)

    def _sync(self, what: str | File) -> None:
        files, directories = self.obeys
        if isinstance(what, File):
            if files:
                what.sync()
        elif directories:
            chosen = {
                index
                for index, naming in enumerate(self.pending)
                if any(posixpath.dirname(path) == what for path in naming.paths)
            }
            kept = self._with_earlier(chosen)
            for index in sorted(kept):
                self.pending[index].apply(self.durable)
            self.pending = [naming for index, naming in enumerate(self.pending) if index not in kept]

    def _with_earlier(self, chosen: set[int]) -> set[int]:
        """``chosen``, and the earlier changes of the same names: they cannot come later."""
        kept, paths = set(), set[str]()
        for index in reversed(range(len(self.pending))):
            if index in chosen or self.pending[index].paths & paths:
                kept.add(index)
                paths |= self.pending[index].paths
        return kept

    def after_loss(self, dice: random.Random) -> dict[str, bytes | None]:
        """What the disk may hold after a loss of power now, by path (``None``: a directory)."""
        names, share = dict(self.durable), dice.choice((0.0, 1.0, dice.random()))
        for index in sorted(self._with_earlier({i for i in range(len(self.pending)) if dice.random() < share})):
            self.pending[index].apply(names)
        contents: dict[int, bytes] = {}
        image: dict[str, bytes | None] = {}
        for path in sorted(names):  # a directory comes before what it holds
            if path != self.root and image.get(posixpath.dirname(path), b"") is not None:
                continue  # its directory never reached the disk
            file = names[path]
            if file is not None and id(file) not in contents:
                contents[id(file)] = file.after_loss(dice)
            image[path] = None if file is None else contents[id(file)]
        return image

    def seen(self) -> dict[str, bytes | None]:
        """What the processes saw last."""
        return {path: None if file is None else bytes(file.now) for path, file in self.now.items()}


def restore(image: dict[str, bytes | None], root: str, to: Path) -> None:
    """Write an image of ``root`` to the folder ``to``."""
    for path in sorted(image):
        place, content = to / posixpath.relpath(path, root), image[path]
        if content is None:
            place.mkdir(exist_ok=True)
        else:
            place.write_bytes(content)


def found(root: Path) -> dict[str, bytes | None]:
    """What really lies below ``root``."""
    below: Iterable[Path] = sorted(root.rglob("*"))
    return {str(path): None if path.is_dir() else path.read_bytes() for path in (root, *below)}
