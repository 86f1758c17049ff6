"""News of analyses inside this process: who waits for an analysis' next event need not ask the store again and again."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from orchestrator.core.results import Progress


class _Topic:
    def __init__(self) -> None:
        self.version = 0  # rises with all news
        self.logged = 0  # rises with those that the store knows too
        self.watchers = 0
        self.progress: Progress | None = None
        self.changed = asyncio.Event()


class News:
    """Versions that rise with every change of an analysis. Nothing is kept of one that nobody watches."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = defaultdict(_Topic)
        self.closed = False

    def tell(self, analysis_id: str, progress: Progress | None = None) -> None:
        """Something happened to ``analysis_id``: its log or state changed, or it made ``progress``."""
        topic = self._topics.get(analysis_id)
        if topic is None:
            return
        topic.version += 1
        if progress is None:
            topic.logged += 1
        else:
            topic.progress = progress
        topic.changed.set()
        topic.changed = asyncio.Event()

    def watch(self, analysis_id: str) -> Watch:
        """Watch an analysis; close it in the end."""
        topic = self._topics[analysis_id]
        topic.watchers += 1
        return Watch(self, analysis_id, topic)

    def close(self) -> None:
        """No more will come: wake everybody."""
        self.closed = True
        for analysis_id in self._topics:
            self.tell(analysis_id)

    def _leave(self, analysis_id: str, topic: _Topic) -> None:
        topic.watchers -= 1
        if not topic.watchers:
            self._topics.pop(analysis_id, None)


class Watch:
    """One watcher. Look at the store after making it, and after each ``wait`` that says so: so nothing falls between."""

    def __init__(self, news: News, analysis_id: str, topic: _Topic) -> None:
        self._news, self._analysis_id, self._topic = news, analysis_id, topic
        self._seen, self._read = topic.version, topic.logged
        self._shown: Progress | None = None

    def progress(self) -> Progress | None:
        """The newest progress, unless this watcher has seen it."""
        newest, shown = self._topic.progress, self._shown
        self._shown = newest
        return newest if newest is not shown else None

    async def wait(self, seconds: float | None) -> bool:
        """Return once something happened since the last ``wait``, or after ``seconds``; whether the store is to be asked
        again: not for the sake of mere progress."""
        late = False
        if self._seen == self._topic.version:
            try:
                async with asyncio.timeout(seconds):
                    await self._topic.changed.wait()
            except TimeoutError:
                late = True
        fresh = late or self._read != self._topic.logged
        self._seen, self._read = self._topic.version, self._topic.logged
        return fresh

    def close(self) -> None:
        """Stop watching."""
        self._news._leave(self._analysis_id, self._topic)
