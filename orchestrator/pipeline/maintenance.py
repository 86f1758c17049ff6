"""Maintenance of one server: while it is on, nothing new is accepted or begun here.

It is a file in the data directory: a restart does not end it, nor does it need the database, which may be what is being maintained. An
operator may put the file there by hand before the service starts, empty or not: that it is there is what counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog

from orchestrator.errors import InvalidRequest

NAME = "maintenance.json"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Notice:
    """Who put the server into maintenance, why, and when."""

    who: str
    why: str
    since: datetime


Change = Callable[[bool], Awaitable[None]]
"""Told that the service is to be had (true), or not."""


class Maintenance:
    """``pause`` stops the service from accepting; ``announce`` tells those who ask for its health, before it refuses anything."""

    def __init__(self, folder: Path, pause: Callable[[bool], None]) -> None:
        self._file = folder / NAME
        self._pause = pause
        self.announce: Change | None = None
        self.notice = self._read()
        pause(self.notice is not None)

    async def set(self, on: bool, *, who: str, why: str) -> None:
        """Begin or end it; beginning it again changes who and why. Raises ``InvalidRequest`` when nobody is named."""
        if not who:
            raise InvalidRequest("say who puts the server into maintenance, or ends it")
        if on:
            since = self.notice.since if self.notice else datetime.now(UTC)
            notice = Notice(who, why, since)
            self._write(notice)
            self.notice = notice
            log.warning("maintenance.on", who=who, why=why)
            await self._tell(False)
            self._pause(True)
        elif self.notice is not None:
            self._file.unlink(missing_ok=True)
            _sync(self._file.parent)
            self.notice = None
            log.warning("maintenance.off", who=who, why=why)
            self._pause(False)
            await self._tell(True)

    async def _tell(self, to_be_had: bool) -> None:
        if self.announce is not None:
            await self.announce(to_be_had)

    def _read(self) -> Notice | None:
        try:
            text = self._file.read_text("utf-8")
            since = datetime.fromtimestamp(self._file.stat().st_mtime, UTC)
        except FileNotFoundError:
            return None
        said: dict[str, object] = {}
        with suppress(ValueError):
            read = json.loads(text)
            said = read if isinstance(read, dict) else {}
        with suppress(KeyError, TypeError, ValueError):
            since = datetime.fromisoformat(str(said["since"]))
        notice = Notice(str(said.get("who", "")), str(said.get("why", "")), since)
        log.warning("maintenance.goes_on", who=notice.who, why=notice.why, since=notice.since.isoformat())
        return notice

    def _write(self, notice: Notice) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        body = {"who": notice.who, "why": notice.why, "since": notice.since.isoformat(timespec="seconds")}
        incoming = self._file.with_suffix(".incoming")
        with incoming.open("w", encoding="utf-8") as out:
            out.write(json.dumps(body) + "\n")
            out.flush()
            os.fsync(out.fileno())
        incoming.replace(self._file)
        _sync(self._file.parent)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
