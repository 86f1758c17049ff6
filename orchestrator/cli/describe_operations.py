"""Health, alerts, sessions and statistics in words, for people. Whatever a client named is hostile: no control character survives."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime

from rich.filesize import decimal

from orchestrator.api import messages as pb
from orchestrator.cli.describe import duration, printable
from orchestrator.cli.describe_jobs import Moment, moment
from orchestrator.cli.tables import Cell

HEALTH_COLUMNS = ("component", "status", "value", "warning", "critical", "since", "runbook", "detail")
SESSION_COLUMNS = (
    "id",
    "stage",
    "media",
    "factor",
    "runs",
    "idle",
    "segments",
    "attempt",
    "profile",
    "tenant",
    "server",
)
ALERT_COLUMNS = ("raised", "level", "component", "state", "server", "runbook", "summary")
SILENCE_COLUMNS = ("id", "pattern", "until", "who", "why")
CAPABILITY_COLUMNS = ("capability", "ready", "models", "why")
RUNBOOKS = "ops/runbooks"
LEDGER = ("source", "expected", "decoded", "corrupt", "dropped", "skipped", "redecoded", "reused")

STYLES = {"healthy": "green", "warning": "yellow", "critical": "bold red"}

_UNITS = {0.0: "down", 1.0: "up"}
_MEASURES = frozenset({"bytes", "ratio", "seconds"})
_ZERO = re.compile(r"(?<=[a-z]) 0 (h|min|s)$")  # behind a larger unit


def status_name(status: pb.HealthStatus.ValueType) -> str:
    """ "healthy", "warning" or "critical"."""
    return pb.HealthStatus.Name(status).removeprefix("HEALTH_STATUS_").lower()


def quantity(value: float, unit: str) -> str:
    """A value with its unit: "1.2 GB", "81.3 %", "12 ms", "3 analyses"; "up" or "down" without one."""
    match unit:
        case "":
            return _UNITS.get(value, f"{value:,.6g}")
        case "bytes":
            return decimal(int(value)) if value >= 0 else f"-{decimal(int(-value))}"
        case "ratio":
            return f"{_percent(value)} %"
        case "seconds":
            return lasting(value)
        case _:
            return f"{value:,.4g} {printable(unit)}"


def _percent(ratio: float) -> str:
    """With the digits that tell it from none and from all."""
    if 0 < abs(ratio) < 0.01:
        return f"{ratio * 100:.2g}"
    return f"{ratio * 100:.{2 if 0.995 < ratio < 1 else 1}f}".removesuffix(".0")


def lasting(seconds: float) -> str:
    """A time for a reader: "12 ms", "8.1 s", "2 min 5 s", "1 h 4 min", "3 d 2 h", "7 d"."""
    sign, size = "-" * (seconds < 0), abs(seconds)
    if size < 1:
        return f"{seconds * 1000:.3g} ms"
    hours = int(size // 3600)
    words = f"{hours // 24} d {hours % 24} h" if hours >= 24 else duration(round(size * 1e9))
    return sign + _ZERO.sub("", words)


def age(since: Moment, now: float) -> str:
    """How long ago, roughly: "8 s", "12 min", "5 h", "3 d"."""
    seconds = max(0, round(now - since.seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def now() -> float:
    """Seconds since 1970."""
    return datetime.now(UTC).timestamp()


def runbook(name: str) -> str:
    """Where the page of that name is."""
    return f"{RUNBOOKS}/{printable(name)}.md"


def health_line(health: pb.Health) -> str:
    """The whole in one line, behind its status."""
    counts = Counter(status_name(each.status) for each in health.components)
    parts = [f"{counts[name]} {name}" for name in ("critical", "warning", "healthy") if counts[name]]
    return f"{printable(health.server)}: {', '.join(parts)}, at {moment(health.look_time)}"


def component_cells(component: pb.Component, at: float) -> list[Cell]:
    """A component, as a row of ``HEALTH_COLUMNS``; its runbook where it is of use."""
    status = status_name(component.status)
    bad = component.status != pb.HealthStatus.HEALTH_STATUS_HEALTHY
    limits = component.limits
    sign = "≤" if limits.critical < limits.warning else "≥"
    warning, critical = (
        (f"{sign} {_limit(limit, component.unit)}" for limit in (limits.warning, limits.critical))
        if component.HasField("limits")
        else ("", "")
    )
    return [
        (printable(component.component), ""),
        (status, STYLES.get(status, "")),
        (_value(component), STYLES[status] if bad and status in STYLES else ""),
        (warning, "dim"),
        (critical, "dim"),
        (age(component.since, at), "dim"),
        (runbook(component.runbook) if bad else "", ""),
        (printable(component.detail), ""),
    ]


def _value(component: pb.Component) -> str:
    """What was measured; of something that is not there, and need not be, nothing."""
    well = component.status == pb.HealthStatus.HEALTH_STATUS_HEALTHY
    return "" if well and not component.unit and not component.value else quantity(component.value, component.unit)


def _limit(value: float, unit: str) -> str:
    """Without the unit where that is what is counted."""
    return quantity(value, unit) if unit in _MEASURES else f"{value:,.4g}"


def capability_cells(capability: pb.Capability) -> list[Cell]:
    """A capability, as a row of ``CAPABILITY_COLUMNS``."""
    models = ", ".join(f"{name} {capability.versions[name]}" for name in sorted(capability.versions))
    return [
        (printable(capability.name), ""),
        ("yes", "green") if capability.ready else ("no", "bold red"),
        (printable(models), "dim"),
        (printable(capability.why), ""),
    ]


def status_rows(status: pb.ServiceStatus, at: float) -> list[tuple[str, str]]:
    """A server, as (name, words)."""
    maintenance = ""
    if status.maintenance:
        by = f", by {status.maintenance_by}" if status.maintenance_by else ""
        since = f", since {moment(status.maintenance_since)}" if status.HasField("maintenance_since") else ""
        maintenance = printable(f"{status.maintenance}{by}") + since
    versions = "\n".join(f"{name} {status.versions[name]}" for name in sorted(status.versions))
    return [
        ("server", printable(status.server)),
        ("up", f"{age(status.start_time, at)}, since {moment(status.start_time)}"),
        ("new analyses", "taken" if status.accepting else "refused"),
        ("maintenance", maintenance),
        ("versions", "\n".join(map(printable, versions.splitlines()))),
    ]


def session_cells(session: pb.Session, at: float) -> list[Cell]:
    """A session, as a row of ``SESSION_COLUMNS``."""
    done = lasting(session.media_seconds) if session.media_seconds else ""
    if session.HasField("duration_seconds") and session.duration_seconds > 0:
        share = session.media_seconds / session.duration_seconds
        done = f"{share * 100:.0f} % of {lasting(session.duration_seconds)}"
    stage = "stuck" if session.stuck else ""
    return [
        (session.analysis_id, ""),
        (f"{printable(session.stage)}, {stage}" if stage else printable(session.stage), "bold red" if stage else ""),
        (done, ""),
        (f"{session.realtime_factor:.2f}" if session.realtime_factor else "", ""),
        (age(session.start_time, at), ""),
        (age(session.progress_time, at), "bold red" if stage else "dim"),
        (f"{session.segment_count:,}", ""),
        (str(session.attempt) if session.attempt > 1 else "", ""),
        (printable(session.profile), ""),
        (printable(session.tenant), ""),
        (printable(session.server), "dim"),
    ]


def alert_cells(alert: pb.Alert, at: float) -> list[Cell]:
    """An alert, as a row of ``ALERT_COLUMNS``."""
    level = pb.AlertLevel.Name(alert.level).removeprefix("ALERT_LEVEL_").lower()
    is_open = not alert.HasField("resolve_time")
    return [
        (moment(alert.raise_time), "dim"),
        (level, STYLES.get(level, "") if is_open else "dim"),
        (printable(alert.component), ""),
        (_alert_state(alert, at), "" if is_open else "dim"),
        (printable(alert.server), "dim"),
        (runbook(alert.runbook) if is_open else "", ""),
        (printable(alert.summary), "" if is_open else "dim"),
    ]


def _alert_state(alert: pb.Alert, at: float) -> str:
    if alert.HasField("resolve_time"):
        return f"over after {age(alert.raise_time, alert.resolve_time.seconds)}"
    words = f"open for {age(alert.raise_time, at)}"
    return f"{words}, silenced" if alert.silence_id else words if alert.notified else f"{words}, not delivered"


def silence_cells(silence: pb.Silence) -> list[Cell]:
    """A silence, as a row of ``SILENCE_COLUMNS``."""
    return [
        (silence.silence_id, ""),
        (printable(silence.pattern), ""),
        (moment(silence.until), ""),
        (printable(silence.who), ""),
        (printable(silence.why), ""),
    ]


def stats_rows(stats: pb.Stats) -> list[tuple[str, str]]:
    """What analyses came to, as (name, words)."""
    return [
        ("analyses", _outcomes(stats)),
        ("success", quantity(stats.success_rate, "ratio") if ended(stats) else ""),
        ("media", lasting(stats.media_seconds) if stats.media_seconds else ""),
        ("frames", _frames(stats)),
        (
            "near-duplicates",
            f"{quantity(stats.duplicate_rate, 'ratio')} of {stats.analyzed_frames:,} sampled frames"
            if stats.analyzed_frames
            else "",
        ),
    ]


def _frames(stats: pb.Stats) -> str:
    """What became of them, in the ledger's order; whatever was none is left out."""
    known = [name for name in LEDGER if name in stats.frames]
    names = [*known, *sorted(set(stats.frames) - set(known))]
    return ", ".join(f"{stats.frames[name]:,} {printable(name)}" for name in names if stats.frames[name])


def ended(stats: pb.Stats) -> int:
    """How many analyses ended."""
    return stats.succeeded_count + stats.failed_count + stats.cancelled_count + stats.quarantined_count


def _outcomes(stats: pb.Stats) -> str:
    parts = [
        f"{stats.succeeded_count:,} succeeded" if stats.succeeded_count else "",
        f"{stats.partial_count:,} of them partial" if stats.partial_count else "",
        f"{stats.failed_count:,} failed" if stats.failed_count else "",
        f"{stats.quarantined_count:,} quarantined" if stats.quarantined_count else "",
        f"{stats.cancelled_count:,} cancelled" if stats.cancelled_count else "",
    ]
    told = ", ".join(filter(None, parts))
    return f"{ended(stats):,} ended: {told}" if told else "none ended"
