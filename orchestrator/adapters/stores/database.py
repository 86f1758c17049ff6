"""A database: its transactions, the threads they run on, and its opening.

Writing and reading have threads and connections of their own. SQLite has one writer, which takes the lock at the start
of a transaction, so that no transaction ever fails half-way for want of it. PostgreSQL has several; rows are locked.
A reader sees one state of the database throughout its transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy import Connection, Engine, exc

from orchestrator import failpoints
from orchestrator.adapters.stores.faults import may_repeat, typed_errors

T = TypeVar("T")
TRIES = 10


class Database:
    """Two engines on one database. ``shared``: other processes may be using it too.

    ``on_close`` runs once nothing uses it any more.
    """

    def __init__(
        self,
        *,
        writing: Engine,
        reading: Engine,
        writers: int,
        readers: int,
        shared: bool,
        on_close: Callable[[], None],
    ) -> None:
        self.writing, self.reading, self.shared = writing, reading, shared
        self._on_close: Callable[[], None] | None = on_close
        self._writers = ThreadPoolExecutor(writers, thread_name_prefix="store-writer")
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="store-reader")

    async def write(self, work: Callable[[Connection], T], at: str = "") -> T:
        """Run ``work`` in one transaction and commit it. ``work`` may run again, as long as it was not committed. ``at``
        names the failpoints before and after the commit.

        It runs to its end even when the caller is cancelled: what was given to the store is not lost in its queue.
        """
        future = asyncio.wrap_future(self._writers.submit(self.write_now, work, at))
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to look
        return await asyncio.shield(future)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run ``work`` in a transaction that changes nothing."""
        return await asyncio.wrap_future(self._readers.submit(self.read_now, work))

    async def read_and_make(self, work: Callable[[Connection], Callable[[], T]]) -> T:
        """Run ``work`` so, and behind the transaction what it returns."""
        return await asyncio.wrap_future(self._readers.submit(lambda: self.read_now(work)()))

    def write_now(self, work: Callable[[Connection], T], at: str = "") -> T:
        """``write``, on this thread."""
        with typed_errors():
            for _ in range(TRIES - 1):
                try:
                    return self._write_once(work, at)
                except exc.DBAPIError as error:
                    if not may_repeat(error):
                        raise
            return self._write_once(work, at)

    def _write_once(self, work: Callable[[Connection], T], at: str) -> T:
        with self.writing.begin() as connection:
            result = work(connection)
            failpoints.reach(f"{at}.before")
        failpoints.reach(f"{at}.after")
        return result

    def read_now(self, work: Callable[[Connection], T]) -> T:
        """``read``, on this thread."""
        with typed_errors(), self.reading.begin() as connection:
            return work(connection)

    def close(self) -> None:
        """Finish what was asked for, then let go; may be called twice."""
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            self._writers.shutdown()
            self._readers.shutdown()
            self.reading.dispose()
            self.writing.dispose()
            on_close()
