"""The application service: analyses by id, whatever transport asks for them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import structlog

from orchestrator.analyzers.registry import Names, available, select
from orchestrator.core.jobs import Checkpoint
from orchestrator.core.media import DecodeLimits
from orchestrator.core.profiles import Profile
from orchestrator.core.results import AnalysisEvent, Failed, Progress, Segment, SegmentClosed, Started
from orchestrator.errors import (
    AnalysisCancelled,
    Draining,
    InternalError,
    NotFound,
    ProfileError,
    QueueFull,
    ReelsiftError,
)
from orchestrator.pipeline.analysis import Analysis
from orchestrator.ports import Decoder, Inference, MediaBytes, ResultStore

log = structlog.get_logger()


@runtime_checkable
class Upload(MediaBytes, Protocol):
    """A media whose bytes are still arriving."""

    async def append(self, offset: int, data: bytes) -> int:
        """Store ``data`` at ``offset``; returns the committed size. Bytes that are already stored are ignored. Raises
        ``UploadOutOfOrder`` for a gap, ``MediaTooLarge``, ``DiskFull``."""
        ...

    def finish(self) -> None:
        """No byte follows."""
        ...

    def abort(self) -> None:
        """The rest will never come: what has arrived is all there is."""
        ...

    def close(self) -> None:
        """Free the file."""
        ...


class Sources(Protocol):
    """Where media bytes come from."""

    async def open_path(self, path: str) -> MediaBytes:
        """A file below the allowed roots. Raises ``SourceNotAllowed``."""
        ...

    def open_upload(self) -> Upload:
        """A new upload."""
        ...


@dataclass(frozen=True, slots=True)
class AnalysisConfig:
    """What a client asks for. ``analyzers``, when given, are run with the profile's settings instead of the profile's
    own list.
    """

    profile: str = "default"
    analyzers: tuple[str, ...] = ()
    request_id: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """``running``: analyses at work at once. ``waiting``: further ones accepted."""

    running: int = 2
    waiting: int = 32
    decode: DecodeLimits = field(default_factory=DecodeLimits)


@dataclass(frozen=True, slots=True)
class _Log:
    """Puts what an analysis tells into the store."""

    store: ResultStore
    analysis_id: str

    async def started(self, started: Started) -> None:
        await self.store.append(self.analysis_id, started)

    async def segment(self, segment: Segment, checkpoint: Checkpoint) -> None:
        await self.store.append(self.analysis_id, SegmentClosed(segment))

    async def progress(self, progress: Progress) -> None:
        await self.store.append(self.analysis_id, progress)


class AnalysisService:
    """Accepts analyses, runs them, and lets anyone read their events."""

    def __init__(
        self,
        *,
        decoder: Decoder,
        inference: Inference,
        store: ResultStore,
        sources: Sources,
        profiles: Mapping[str, Profile],
        names: Names,
        limits: ServiceLimits | None = None,
    ) -> None:
        self._decoder = decoder
        self._inference = inference
        self._store = store
        self._sources = sources
        self._profiles = profiles
        self._names = names
        self._limits = limits or ServiceLimits()
        self._turn = asyncio.Semaphore(self._limits.running)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._draining = False

    async def open_path(self, path: str) -> MediaBytes:
        """A file of this machine as a source."""
        return await self._sources.open_path(path)

    def open_upload(self) -> Upload:
        """A source whose bytes the client will send."""
        return self._sources.open_upload()

    async def submit(self, source: MediaBytes, config: AnalysisConfig) -> str:
        """Accept an analysis and return its id. The service closes ``source`` when it is done with it.

        Raises ``Draining``, ``QueueFull``, ``ProfileError``.
        """
        if self._draining:
            raise Draining("this server is shutting down and takes no new analyses")
        if len(self._tasks) >= self._limits.running + self._limits.waiting:
            raise QueueFull(f"{len(self._tasks)} analyses are accepted already", limit=len(self._tasks))
        profile = self._profile(config)
        # Importing an analyzer's libraries may take a second; the loop goes on meanwhile.
        selection = await asyncio.to_thread(select, profile, self._names)
        analysis_id = uuid.uuid4().hex
        await self._store.create(analysis_id)

        def start() -> Analysis:
            told = _Log(self._store, analysis_id)
            return Analysis(self._decoder, self._inference, selection, profile, self._limits.decode, told)

        task = asyncio.create_task(self._run(analysis_id, start, source), name=f"analysis-{analysis_id}")
        self._tasks[analysis_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(analysis_id, None))
        log.info("analysis accepted", analysis_id=analysis_id, profile=profile.name, analyzers=list(selection.names))
        return analysis_id

    def _profile(self, config: AnalysisConfig) -> Profile:
        name = config.profile or "default"
        if name not in self._profiles:
            raise ProfileError(
                f"there is no profile {name!r}; there are {', '.join(sorted(self._profiles))}", profile=name
            )
        profile = self._profiles[name]
        if config.analyzers:
            unknown = sorted(set(config.analyzers) - set(available()))
            if unknown:
                raise ProfileError(f"there is no analyzer {unknown[0]!r}; there are {', '.join(sorted(available()))}")
            profile = profile.only(tuple(dict.fromkeys(config.analyzers)))
        return profile

    async def _run(self, analysis_id: str, start: Callable[[], Analysis], source: MediaBytes) -> None:
        logger = log.bind(analysis_id=analysis_id)
        try:
            async with self._turn:
                outcome = await start().run(source)
                await self._store.append(analysis_id, outcome.finished)
            logger.info("analysis finished")
        except asyncio.CancelledError:
            await self._fail(analysis_id, AnalysisCancelled("the analysis was cancelled"))
            logger.info("analysis cancelled")
        except ReelsiftError as error:
            await self._fail(analysis_id, error)
            logger.info("analysis failed", reason=error.reason, message=str(error))
        except Exception:
            await self._fail(analysis_id, InternalError("an internal error ended this analysis"))
            logger.exception("analysis failed")
        finally:
            source.close()

    async def _fail(self, analysis_id: str, error: ReelsiftError) -> None:
        event = Failed(error.reason, error.grpc_code, str(error), error.retryable, tuple(sorted(error.detail.items())))
        await self._store.append(analysis_id, event)

    def events(self, analysis_id: str, after: int = 0) -> AsyncIterator[tuple[int, AnalysisEvent]]:
        """Stored and coming events with sequence numbers above ``after``; ends after the final one. Raises
        ``NotFound``.
        """
        return self._store.read(analysis_id, after)

    async def cancel(self, analysis_id: str) -> None:
        """Stop an analysis; returns once it has stopped. Finished ones stay as they are. Raises ``NotFound``."""
        task = self._tasks.get(analysis_id)
        if task is None:
            if not await self._store.exists(analysis_id):
                raise NotFound(f"there is no analysis {analysis_id!r}", analysis_id=analysis_id)
            return
        task.cancel()
        await asyncio.wait([task])

    async def drain(self, seconds: float) -> None:
        """Take no new work; let what runs finish within ``seconds``, then cancel the rest."""
        self._draining = True
        tasks = list(self._tasks.values())
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
