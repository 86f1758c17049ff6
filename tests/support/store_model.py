"""An analysis store as a few dictionaries: what the real ones have to look like, to whoever watches.

An ``Op`` is one call. ``apply`` does it to the model, ``perform`` to a store; both give the answer, or the error's name.
Instants are left out of answers: a model has no clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from orchestrator.core.jobs import (
    AnalysisFilter,
    AnalysisRecord,
    AnalysisSpec,
    AnalysisState,
    Lease,
    UploadState,
    same_request,
)
from orchestrator.core.results import Failed, Finished, LoggedEvent, SegmentClosed
from orchestrator.errors import (
    AnalysisNotEnded,
    FailedPrecondition,
    InternalError,
    LeaseLost,
    NotFound,
    QueueFull,
    ReelsiftError,
    RequestIdReused,
    UploadOutOfOrder,
)
from orchestrator.ports import AnalysisStore
from tests.support.store_values import FAILED, FINISHED, STARTED, checkpoint, segment

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
LIMIT = 3
Answer = Any


@dataclass
class Known:
    """One analysis of the model."""

    record: AnalysisRecord
    log: list[LoggedEvent] = field(default_factory=list)
    token: int = 0
    owner: str = ""
    beats: int = 0
    memos: list[object] = field(default_factory=list)
    forgot: bool = True


@dataclass
class Model:
    """Every analysis, by id, in the order of creation."""

    analyses: dict[str, Known] = field(default_factory=dict)

    def copy(self) -> Model:
        """Another model that looks the same."""
        return Model(
            {name: replace(each, log=list(each.log), memos=list(each.memos)) for name, each in self.analyses.items()}
        )

    def find(self, name: str) -> Known:
        if name not in self.analyses:
            raise NotFound("")
        return self.analyses[name]

    def held(self, lease: Lease) -> Known:
        known = self.analyses.get(lease.analysis_id)
        if known is None or known.record.state is not AnalysisState.RUNNING or known.token != lease.token:
            raise LeaseLost("")
        return known

    def leases(self) -> dict[Lease, int]:
        running = {name: each for name, each in self.analyses.items() if each.record.state is AnalysisState.RUNNING}
        return {Lease(name, each.owner, each.token): each.beats for name, each in running.items()}

    def queued(self) -> list[str]:
        waiting = [each.record for each in self.analyses.values() if each.record.state is AnalysisState.QUEUED]
        return [each.id for each in sorted(waiting, key=lambda each: -each.spec.priority)]

    def snapshot(self, names: tuple[str, ...]) -> Answer:
        """What can be seen of the model: ``names`` in full, who holds what, and the order of creation."""
        seen = []
        for name in names:
            known = self.analyses.get(name)
            if known is not None:
                behind = None
                if known.record.segments and not known.record.state.ended:
                    index = known.record.segments - 1
                    behind = (replace(checkpoint(index), forget=known.forgot), known.memos)
                seen.append((known.record, list(enumerate(known.log, 1)), behind))
        return seen, self.leases(), self.listing()

    def listing(self) -> list[str]:
        """Newest first."""
        return list(reversed(self.analyses))


async def snapshot(store: AnalysisStore, names: tuple[str, ...]) -> Answer:
    """The same of a store, to which nothing happens meanwhile."""
    *seen, leases, listing = await asyncio.gather(
        *(_seen(store, name) for name in names), store.leases(), _listing(store)
    )
    return [each for each in seen if each is not None], leases, listing


async def _seen(store: AnalysisStore, name: str) -> Answer:
    try:
        record, log, behind = await asyncio.gather(store.get(name), store.read(name), store.checkpoint(name))
    except NotFound:
        return None
    return timeless(record), list(log), behind


async def _listing(store: AnalysisStore) -> list[str]:
    return [record.id for record in (await store.list(AnalysisFilter(), 100)).records]


def timeless(value: Answer) -> Answer:
    """An answer without its instants."""
    if isinstance(value, AnalysisRecord):
        start, end = value.start_time and NOON, value.end_time and NOON
        return replace(value, create_time=NOON, start_time=start, end_time=end)
    return tuple(timeless(each) for each in value) if isinstance(value, tuple) else value


@dataclass(frozen=True)
class Op:
    """One call of the port."""

    @property
    def about(self) -> str:
        """The analysis that it is about."""
        lease = getattr(self, "lease", None)
        return lease.analysis_id if lease else getattr(self, "name", "")

    def apply(self, model: Model) -> Answer:
        """Do it to the model; returns the answer or the error's name."""
        try:
            return self.on_model(model)
        except ReelsiftError as error:
            return type(error).__name__

    async def perform(self, store: AnalysisStore) -> Answer:
        """Do it to a store; returns the answer or the error's name."""
        try:
            return timeless(await self.on_store(store))
        except ReelsiftError as error:
            return type(error).__name__

    def on_model(self, model: Model) -> Answer:
        raise NotImplementedError

    async def on_store(self, store: AnalysisStore) -> Answer:
        raise NotImplementedError


@dataclass(frozen=True)
class Create(Op):
    name: str
    spec: AnalysisSpec

    def on_model(self, model: Model) -> Answer:
        for known in model.analyses.values():
            old = known.record.spec
            if self.spec.request_id and (old.tenant, old.request_id) == (self.spec.tenant, self.spec.request_id):
                if not same_request(old, self.spec):
                    raise RequestIdReused("")
                return known.record, False
        if self.name in model.analyses:
            if model.analyses[self.name].record.spec != self.spec:
                raise InternalError("")
            return model.analyses[self.name].record, False
        if sum(not each.record.state.ended for each in model.analyses.values()) >= LIMIT:
            raise QueueFull("")
        record = AnalysisRecord(self.name, self.spec, AnalysisState.QUEUED, NOON)
        model.analyses[self.name] = Known(record)
        return record, True

    async def on_store(self, store: AnalysisStore) -> Answer:
        return await store.create(self.name, self.spec, limit=LIMIT)


@dataclass(frozen=True)
class Claim(Op):
    name: str
    owner: str

    def on_model(self, model: Model) -> Answer:
        known = model.find(self.name)
        if known.record.state is not AnalysisState.QUEUED:
            return None
        known.token, known.owner, known.beats = known.token + 1, self.owner, 0
        attempts = known.record.attempts + 1
        known.record = replace(known.record, state=AnalysisState.RUNNING, attempts=attempts, start_time=NOON)
        return Lease(self.name, self.owner, known.token)

    async def on_store(self, store: AnalysisStore) -> Answer:
        return await store.claim(self.name, self.owner)


@dataclass(frozen=True)
class Beat(Op):
    lease: Lease

    def on_model(self, model: Model) -> Answer:
        known = model.held(self.lease)
        known.beats += 1
        return known.record

    async def on_store(self, store: AnalysisStore) -> Answer:
        return await store.beat(self.lease)


@dataclass(frozen=True)
class Begin(Op):
    lease: Lease

    def on_model(self, model: Model) -> Answer:
        known = model.held(self.lease)
        if not known.log:
            known.log.append(STARTED)
            known.record = replace(known.record, started=STARTED, last_sequence=1)
        return 1

    async def on_store(self, store: AnalysisStore) -> Answer:
        return await store.begin(self.lease, STARTED, None)


@dataclass(frozen=True)
class Commit(Op):
    lease: Lease
    index: int
    forget: bool
    mark: str

    def on_model(self, model: Model) -> Answer:
        known = model.held(self.lease)
        new, next_one = SegmentClosed(segment(self.index, mark=self.mark)), known.record.segments
        if self.index == next_one - 1 and (known.log[-1], known.forgot) == (new, self.forget):
            return self.index + 2
        if not known.log or self.index != next_one:
            raise InternalError("")
        known.log.append(new)
        memo = dict(checkpoint(self.index).memo)
        known.memos, known.forgot = [*([] if self.forget else known.memos), memo], self.forget
        known.beats += 1
        known.record = replace(known.record, segments=self.index + 1, last_sequence=self.index + 2, interruptions=0)
        return self.index + 2

    async def on_store(self, store: AnalysisStore) -> Answer:
        kept = checkpoint(self.index, forget=self.forget)
        return await store.commit_segment(self.lease, segment(self.index, mark=self.mark), kept)


def _finish(known: Known, event: Finished | Failed, state: AnalysisState) -> int:
    known.log.append(event)
    position = len(known.log)
    outcome: dict[str, Any] = {"result" if isinstance(event, Finished) else "failure": event}
    known.record = replace(known.record, state=state, last_sequence=position, end_time=NOON, **outcome)
    return position


@dataclass(frozen=True)
class End(Op):
    lease: Lease
    state: AnalysisState

    @property
    def event(self) -> Finished | Failed:
        return FINISHED if self.state is AnalysisState.SUCCEEDED else FAILED

    def on_model(self, model: Model) -> Answer:
        known = model.held(self.lease)
        if isinstance(self.event, Finished) and not known.log:
            raise InternalError("")
        return _finish(known, self.event, self.state)

    async def on_store(self, store: AnalysisStore) -> Answer:
        return await store.end(self.lease, self.event, self.state)


@dataclass(frozen=True)
class Requeue(Op):
    lease: Lease
    reason: str
    strike: bool

    def on_model(self, model: Model) -> Answer:
        known = model.held(self.lease)
        record = known.record
        known.record = replace(
            record,
            state=AnalysisState.QUEUED,
            strikes=record.strikes + self.strike,
            interruptions=record.interruptions + (self.reason == "INTERRUPTED"),
        )

    async def on_store(self, store: AnalysisStore) -> Answer:
        await store.requeue(self.lease, reason=self.reason, strike=self.strike)


@dataclass(frozen=True)
class Cancel(Op):
    name: str

    def on_model(self, model: Model) -> Answer:
        known = model.find(self.name)
        state = known.record.state
        if not state.ended:
            known.record = replace(known.record, cancel_requested=True)
        if state is AnalysisState.QUEUED:
            event = Failed("CANCELLED", "CANCELLED", "the analysis was cancelled", False)
            _finish(known, event, AnalysisState.CANCELLED)
        return known.record

    async def on_store(self, store: AnalysisStore) -> Answer:
        return await store.request_cancel(self.name)


@dataclass(frozen=True)
class Delete(Op):
    name: str

    def on_model(self, model: Model) -> Answer:
        if not model.find(self.name).record.state.ended:
            raise AnalysisNotEnded("")
        del model.analyses[self.name]

    async def on_store(self, store: AnalysisStore) -> Answer:
        await store.delete(self.name)


@dataclass(frozen=True)
class SetUpload(Op):
    name: str
    upload: UploadState

    def on_model(self, model: Model) -> Answer:
        known = model.find(self.name)
        before = known.record.upload
        if self.upload == before:
            return
        if known.record.state.ended:
            raise FailedPrecondition("")
        if before.complete or self.upload.committed < before.committed:
            raise UploadOutOfOrder("")
        known.record = replace(known.record, upload=self.upload)

    async def on_store(self, store: AnalysisStore) -> Answer:
        await store.set_upload(self.name, self.upload)


@dataclass(frozen=True)
class Read(Op):
    name: str
    after: int

    def on_model(self, model: Model) -> Answer:
        return list(enumerate(model.find(self.name).log, 1))[self.after :]

    async def on_store(self, store: AnalysisStore) -> Answer:
        return list(await store.read(self.name, self.after))


@dataclass(frozen=True)
class Queue(Op):
    def on_model(self, model: Model) -> Answer:
        return model.queued()

    async def on_store(self, store: AnalysisStore) -> Answer:
        return [each.id for each in await store.queued()]


@dataclass(frozen=True)
class Listing(Op):
    def on_model(self, model: Model) -> Answer:
        return model.listing()

    async def on_store(self, store: AnalysisStore) -> Answer:
        return await _listing(store)


def reclaim(model: Model) -> None:
    """What a process that died with everything it held leaves for the next."""
    for lease in model.leases():
        Requeue(lease, "INTERRUPTED", False).apply(model)


Plan = Callable[[Model], Op]
"""An ``Op`` that looks at the model to aim well: at the lease in force, the next segment."""
