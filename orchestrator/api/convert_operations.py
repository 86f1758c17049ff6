"""From what operators look at to messages, and back where a client reckons with it."""

from __future__ import annotations

from datetime import UTC

from orchestrator.api import messages as pb
from orchestrator.api.records import timestamp
from orchestrator.core.alerting import Alert, Level, Silence
from orchestrator.core.health import Component, Health, Status
from orchestrator.core.jobs import AnalysisState
from orchestrator.core.retention import Cleaned, Removal
from orchestrator.core.statistics import Capability, Sample, ServiceStatus, Session, Spread, Stats
from orchestrator.errors import InvalidRequest


def health(found: Health) -> pb.Health:
    """``found`` as a message."""
    return pb.Health(
        server=found.server,
        look_time=timestamp(found.time),
        status=_health_status(found.status),
        components=[_component(each) for each in found.components],
    )


def _health_status(status: Status) -> pb.HealthStatus.ValueType:
    return pb.HealthStatus.Value(f"HEALTH_STATUS_{status.name}")


def _component(component: Component) -> pb.Component:
    reading = component.reading
    limits = reading.limits
    return pb.Component(
        component=reading.component,
        status=_health_status(reading.status),
        since=timestamp(component.since),
        value=reading.value,
        unit=reading.unit,
        limits=None if limits is None else pb.HealthLimits(warning=limits.warning, critical=limits.critical),
        detail=reading.detail,
        runbook=reading.kind,
    )


def service_status(status: ServiceStatus) -> pb.ServiceStatus:
    """``status`` as a message."""
    return pb.ServiceStatus(
        server=status.server,
        start_time=timestamp(status.started),
        accepting=status.accepting,
        maintenance=status.maintenance,
        maintenance_by=status.maintenance_by,
        maintenance_since=timestamp(status.maintenance_since),
        versions=status.versions,
        capabilities=[_capability(each) for each in status.capabilities],
    )


def _capability(capability: Capability) -> pb.Capability:
    return pb.Capability(name=capability.name, ready=capability.ready, why=capability.why, versions=capability.versions)


def stats(found: Stats) -> pb.Stats:
    """``found`` as a message."""
    return pb.Stats(
        hours=found.hours,
        succeeded_count=found.states.get(AnalysisState.SUCCEEDED, 0),
        failed_count=found.states.get(AnalysisState.FAILED, 0),
        cancelled_count=found.states.get(AnalysisState.CANCELLED, 0),
        quarantined_count=found.states.get(AnalysisState.QUARANTINED, 0),
        partial_count=found.partial,
        success_rate=found.success_rate,
        reasons=found.reasons,
        media_seconds=found.media_seconds,
        elapsed=_spread(found.elapsed),
        waiting=_spread(found.waiting),
        realtime_factor=_spread(found.realtime_factor),
        stage_seconds=found.stages,
        frames=found.frames,
        analyzed_frames=found.frames_analyzed,
        reused_frames=found.frames_reused,
        duplicate_rate=found.duplicate_rate,
    )


def stats_of(message: pb.Stats) -> Stats:
    """What ``message`` says."""
    counts = {
        AnalysisState.SUCCEEDED: message.succeeded_count,
        AnalysisState.FAILED: message.failed_count,
        AnalysisState.CANCELLED: message.cancelled_count,
        AnalysisState.QUARANTINED: message.quarantined_count,
    }
    return Stats(
        hours=message.hours,
        states={state: count for state, count in counts.items() if count},
        reasons=dict(message.reasons),
        partial=message.partial_count,
        media_seconds=message.media_seconds,
        elapsed=_spread_of(message.elapsed),
        waiting=_spread_of(message.waiting),
        realtime_factor=_spread_of(message.realtime_factor),
        stages=dict(message.stage_seconds),
        frames=dict(message.frames),
        frames_analyzed=message.analyzed_frames,
        frames_reused=message.reused_frames,
    )


def _spread_of(message: pb.Spread) -> Spread:
    return Spread(message.count, message.mean, message.p50, message.p95, message.max)


def _spread(spread: Spread) -> pb.Spread:
    return pb.Spread(count=spread.count, mean=spread.mean, p50=spread.p50, p95=spread.p95, max=spread.max)


def sample(taken: Sample) -> pb.Sample:
    """``taken`` as a message."""
    return pb.Sample(server=taken.server, time=timestamp(taken.time), values=taken.values)


def sample_of(message: pb.Sample) -> Sample:
    """What ``message`` says."""
    return Sample(message.server, message.time.ToDatetime(UTC), dict(message.values))


def session(running: Session) -> pb.Session:
    """``running`` as a message."""
    return pb.Session(
        analysis_id=running.analysis_id,
        server=running.server,
        tenant=running.tenant,
        profile=running.profile,
        stage=running.stage,
        attempt=running.attempt,
        segment_count=running.segments,
        media_seconds=running.media_seconds,
        duration_seconds=running.duration_seconds,
        realtime_factor=running.realtime_factor,
        start_time=timestamp(running.started),
        progress_time=timestamp(running.progressed),
        stuck=running.stuck,
    )


def alert(raised: Alert) -> pb.Alert:
    """``raised`` as a message."""
    return pb.Alert(
        alert_id=raised.id,
        server=raised.server,
        component=raised.component,
        level=pb.AlertLevel.Value(f"ALERT_LEVEL_{raised.level.value}"),
        summary=raised.summary,
        value=raised.value,
        raise_time=timestamp(raised.raised),
        change_time=timestamp(raised.changed),
        resolve_time=timestamp(raised.resolved),
        silence_id=raised.silenced_by,
        notified=raised.notified,
        runbook=raised.runbook,
    )


def level(number: pb.AlertLevel.ValueType) -> Level | None:
    """The level to list by; ``None`` for any. Raises ``InvalidRequest``."""
    if number == pb.AlertLevel.ALERT_LEVEL_UNSPECIFIED:
        return None
    if number not in pb.AlertLevel.values():
        raise InvalidRequest(f"there is no level {number}")
    return Level(pb.AlertLevel.Name(number).removeprefix("ALERT_LEVEL_"))


def cleaned(done: Cleaned, most: int | None = None) -> pb.CleanUpResponse:
    """``done`` as a message that names ``most`` things at most, those first that could not go."""
    kept = [_removal(removal, why) for removal, why in done.kept[:most]]
    return pb.CleanUpResponse(
        removed_count=len(done.removed),
        removed_bytes=done.size,
        kept_count=len(done.kept),
        removals=[*kept, *map(_removal, done.removed)][:most],
    )


def _removal(removal: Removal, kept_because: str = "") -> pb.Removal:
    return pb.Removal(
        kind=removal.kind,
        name=removal.name,
        size_bytes=removal.size,
        reason=removal.reason,
        kept_because=kept_because,
    )


def silence(made: Silence) -> pb.Silence:
    """``made`` as a message."""
    return pb.Silence(
        silence_id=made.id,
        pattern=made.pattern,
        until=timestamp(made.until),
        who=made.who,
        why=made.why,
        create_time=timestamp(made.created),
    )
