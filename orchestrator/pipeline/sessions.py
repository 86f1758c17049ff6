"""What runs: here, as its runner sees it, and at other servers, as far as the store knows."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from orchestrator.core.statistics import Session
from orchestrator.pipeline.control_ports import AtWork
from orchestrator.pipeline.running import Running


def session_here(running: Running, server: str, stuck: float) -> Session:
    """One that runs in this process; ``stuck``: seconds for which it may not get on."""
    record, attempt, now = running.record, running.attempt, datetime.now(UTC)
    idle = time.monotonic() - running.moved
    return Session(
        analysis_id=record.id,
        server=server,
        tenant=record.spec.tenant,
        profile=record.spec.profile,
        stage=attempt.stage,
        attempt=record.attempts,
        segments=attempt.segments,
        media_seconds=attempt.media_ns / 1e9,
        duration_seconds=_seconds(attempt.duration_ns),
        realtime_factor=_factor(attempt.elapsed_ns, attempt.media_ns),
        started=record.start_time or now,
        progressed=now - timedelta(seconds=idle),
        stuck=idle > stuck,
    )


def session_elsewhere(at_work: AtWork, stuck: float) -> Session:
    """One that runs at another server of the store. It gets on with each segment, as far as can be seen from here."""
    record, now = at_work.record, datetime.now(UTC)
    started = record.start_time or now
    elapsed = int((at_work.progressed - started).total_seconds() * 1e9)
    return Session(
        analysis_id=record.id,
        server=at_work.owner.rpartition("/")[0],
        tenant=record.spec.tenant,
        profile=record.spec.profile,
        stage="analysing" if record.started else "opening",
        attempt=record.attempts,
        segments=record.segments,
        media_seconds=at_work.media_ns / 1e9,
        duration_seconds=_seconds(record.media.duration_ns if record.media else None),
        realtime_factor=_factor(elapsed, at_work.media_ns),
        started=started,
        progressed=at_work.progressed,
        stuck=(now - at_work.progressed).total_seconds() > stuck,
    )


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e9


def _factor(elapsed_ns: int, media_ns: int) -> float:
    return elapsed_ns / media_ns if media_ns else 0.0
