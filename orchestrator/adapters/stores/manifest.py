"""The manifest of a backup: what is in it, and how to know that it still is.

``manifest.json`` is written last, so a backup without one was never completed. It names every file with its size and
sha256, and ends with the digest of itself.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from orchestrator.errors import SetupError

NAME = "manifest.json"
FORMAT = 1
PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class File:
    """A file of a backup: its size in bytes, and the sha256 of them in hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds.

    ``backend``: ``sqlite`` or ``postgresql``. ``time``: of the snapshot, ISO 8601 in UTC. ``revision``: of the schema.
    ``rows``: of each table. ``columns``: of each table, where a file holds them in an order. ``files``: by path below the
    backup, parts separated by ``/``. ``missing``: blobs that the database names, but which were not there.
    """

    backend: str
    time: str
    revision: str
    rows: Mapping[str, int]
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    files: Mapping[str, File] = field(default_factory=dict)
    missing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for path in self.files:
            if not all(part.strip(".") for part in path.split("/")):
                raise ValueError(f"a file of a backup lies below it, got {path!r}")

    def to_bytes(self) -> bytes:
        """The manifest as it is written."""
        body = {"format": FORMAT, **asdict(self)}
        return _rendered({**body, "digest": hashlib.sha256(_rendered(body)).hexdigest()})

    @staticmethod
    def read(folder: Path) -> Manifest:
        """The manifest of the backup in ``folder``. Raises ``SetupError`` when it is missing or damaged, or of a format to come."""
        try:
            data = (folder / NAME).read_bytes()
        except OSError as error:
            raise SetupError(f"this is no complete backup: {NAME} is missing", file=NAME) from error
        try:
            body = json.loads(data)
            version, _ = body.pop("format"), body.pop("digest")
            if isinstance(version, int) and version > FORMAT:
                raise SetupError(
                    f"the backup has format {version}, this reelsift reads {FORMAT}: upgrade it", file=NAME
                )
            files = {path: File(**file) for path, file in body.pop("files").items()}
            columns = {table: tuple(names) for table, names in body.pop("columns").items()}
            manifest = Manifest(**{**body, "files": files, "columns": columns, "missing": tuple(body["missing"])})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SetupError(f"the backup is damaged: {NAME} cannot be read", file=NAME) from error
        if data != manifest.to_bytes():  # not a byte may differ, not even one that means nothing
            raise SetupError(f"the backup is damaged: {NAME} is not what was written", file=NAME)
        return manifest

    def verify(self, folder: Path) -> None:
        """Read every file of the backup. Raises ``SetupError`` that names the first which is missing or damaged."""
        for path, expected in self.files.items():
            try:
                found = digest_of(folder / path)
            except OSError as error:
                raise SetupError(f"the backup is incomplete: {path} cannot be read", file=path) from error
            if found != expected:
                raise SetupError(f"the backup is damaged: {path} is not what was written", file=path)

    def below(self, folder: str) -> Iterator[str]:
        """Names of the files below ``folder``, without it."""
        prefix = f"{folder}/"
        return (path.removeprefix(prefix) for path in self.files if path.startswith(prefix))


def digest_of(path: Path) -> File:
    """Size and digest of a file. Raises ``OSError``."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
            size += len(piece)
    return File(size, digest.hexdigest())


def _rendered(body: Mapping[str, object]) -> bytes:
    return json.dumps(body, indent=1, sort_keys=True).encode() + b"\n"
