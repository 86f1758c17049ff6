"""The port ``Operations`` in memory, with a service behind it that has seen something of everything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from orchestrator.core.alerting import Alert, AlertFilter, Level, Silence
from orchestrator.core.health import Component, Health, Limits, Reading, measured, up
from orchestrator.core.jobs import AnalysisRecord, AnalysisSpec, AnalysisState, SourceKind, SourceRef
from orchestrator.core.results import Failed
from orchestrator.core.retention import Cleaned, Kind, Reason, Removal
from orchestrator.core.statistics import Capability, Sample, ServiceStatus, Session, Spread, Stats
from orchestrator.errors import InvalidRequest, NotFound

GB = 10**9
MAX_HOURS = 8760
MOST_SAMPLES = 1000
SERVER = "video-1"

READINGS: tuple[tuple[Reading, timedelta], ...] = (
    (up("triton", True, "2.59.0, 2 instances"), timedelta(days=3)),
    (up("model/labels", True, "version 1"), timedelta(days=3)),
    (up("model/shots", False, "its process died 4 times in 10 minutes"), timedelta(minutes=12)),
    (measured("decoders", 0, "crashes a minute", Limits(1, 5)), timedelta(days=3)),
    (measured("database", 0.004, "seconds", Limits(0.5, 5), "sqlite"), timedelta(days=3)),
    (measured("queue", 37, "analyses", Limits(24, 100), "oldest 8 min"), timedelta(minutes=45)),
    (measured("failures", 0.013, "ratio", Limits(0.05, 0.1)), timedelta(hours=9)),
    (measured("latency", 0.021, "seconds", Limits(1, 2)), timedelta(days=3)),
    (measured("disk/data", 0.843, "ratio", Limits(0.8, 0.9), "78.4 GB free of 500.0 GB"), timedelta(hours=5)),
    (measured("memory", 0.61, "ratio", Limits(0.85, 0.95)), timedelta(days=3)),
    (measured("certificate/api", 12 * 86400, "seconds", Limits(14 * 86400, 3 * 86400)), timedelta(days=2)),
    (measured("clock", 0.0, "seconds", Limits(1, 60)), timedelta(days=3)),
)


def stats_of(hours: float, scale: float = 1.0) -> Stats:
    """What a busy service came to; ``scale`` times as much as usual in a day."""
    number = int(480 * scale * hours / 24)
    lost = max(1, number // 60) if number else 0
    return Stats(
        hours=hours,
        states={
            AnalysisState.SUCCEEDED: number - lost,
            AnalysisState.FAILED: lost - lost // 4,
            AnalysisState.QUARANTINED: lost // 4,
            AnalysisState.CANCELLED: number // 100,
        },
        reasons={"MEDIA_UNREADABLE": lost - lost // 4, "DECODER_CRASHED": lost // 4},
        partial=number // 40,
        media_seconds=number * 540.0,
        elapsed=Spread(number, 96.0, 81.0, 240.0, 1312.0) if number else Spread(),
        waiting=Spread(number, 3.1, 0.2, 18.0, 61.0) if number else Spread(),
        realtime_factor=Spread(number, 0.18, 0.16, 0.35, 0.9) if number else Spread(),
        stages={
            "open": number * 0.4,
            "fetch": number * 12.0,
            "decode": number * 31.0,
            "infer/labels": number * 24.0,
            "infer/shots": number * 38.0,
            "model/labels": number * 21.0,
            "model/shots": number * 37.0,
            "segment": number * 1.1,
            "store": number * 2.3,
        },
        frames={"decoded": number * 13_500, "corrupt": number * 2, "dropped": 0},
        frames_analyzed=number * 1_100,
        frames_reused=number * 740,
    )


OLD = Cleaned((Removal(Kind.UPLOADS, "u-1", 5 * GB, Reason.AGE),))


@dataclass
class FakeOperations:
    """One server. ``scale(until)``: how busy it was then. Whatever was asked of it is in ``done``."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    readings: Sequence[tuple[Reading, timedelta]] = READINGS
    scale: Callable[[datetime], float] = lambda until: 1.0
    sample_hours: float = 14 * 24.0
    running: list[Session] = field(default_factory=list)
    raised: list[Alert] = field(default_factory=list)
    quiet: dict[str, Silence] = field(default_factory=dict)
    maintained: tuple[str, str] = ("", "")
    draining: bool = False
    old: Cleaned = OLD
    changed: Sequence[str] = ("log_level", "limits.disk.warning")
    refusal: Exception | None = None
    done: list[tuple[str, ...]] = field(default_factory=list)

    def health(self) -> Health:
        seen = sorted(self.readings, key=lambda each: each[0].component)
        return Health(SERVER, self.now, tuple(Component(reading, self.now - since) for reading, since in seen))

    def status(self) -> ServiceStatus:
        who, why = self.maintained
        return ServiceStatus(
            server=SERVER,
            started=self.now - timedelta(days=3, hours=2),
            accepting=not (why or self.draining),
            maintenance=why,
            maintenance_by=who,
            maintenance_since=self.now if why else None,
            versions={"reelsift": "0.1.0", "python": "3.11.2", "triton": "2.59.0"},
            capabilities=(
                Capability("labels", True, versions={"labels": "1"}),
                Capability("shots", False, "the model shots is not loaded"),
                Capability("uploads", True),
                Capability("search", True, versions={"text_embedding": "1"}),
            ),
        )

    async def stats(self, hours: float, *, until: datetime | None = None, profile: str = "") -> Stats:
        self._refuse()
        _check_hours(hours)
        if profile not in ("", "default", "thorough"):
            return Stats(hours)
        found = stats_of(hours, self.scale(until or self.now))
        slow = 2.5 if profile == "thorough" else 1.0
        factor = found.realtime_factor
        return replace(
            found,
            realtime_factor=Spread(
                factor.count, factor.mean * slow, factor.p50 * slow, factor.p95 * slow, factor.max * slow
            ),
        )

    async def samples(self, hours: float, server: str = "") -> Sequence[Sample]:
        self._refuse()
        _check_hours(hours)
        if server not in ("", SERVER):
            return ()
        span = min(hours, self.sample_hours)
        number = min(MOST_SAMPLES, max(1, int(span * 60)))
        times = [self.now - timedelta(hours=span * (1 - at / number)) for at in range(number)]
        return [Sample(SERVER, time, self._measured(time)) for time in times]

    def _measured(self, time: datetime) -> dict[str, float]:
        by_day = 1 - abs(time.hour + time.minute / 60 - 14) / 14  # busiest at two in the afternoon
        busy = max(0.0, by_day) * self.scale(time)
        return {
            "cpu_ratio": min(1.0, 0.03 + 0.6 * busy),
            "memory_bytes": 3.1 * GB + 2.2 * GB * busy,
            "running": float(min(4, round(4 * busy))),
            "places": 4.0,
            "queued": float(round(12 * max(0.0, busy - 0.7))),
            "disk_free_bytes/data": 120 * GB + 3.0 * GB * (self.now - time).total_seconds() / 86400,
        }

    async def sessions(self) -> Sequence[Session]:
        self._refuse()
        return sorted(self.running, key=lambda each: each.started)

    async def terminate(self, analysis_id: str, *, who: str, why: str) -> AnalysisRecord:
        self._refuse()
        found = next((each for each in self.running if each.analysis_id == analysis_id), None)
        if found is None:
            raise NotFound("there is no such analysis", analysis_id=analysis_id)
        self.running.remove(found)
        self.done.append(("terminate", analysis_id, who, why))
        return AnalysisRecord(
            analysis_id,
            AnalysisSpec(SourceRef(SourceKind.PATH, "/films/one.mp4")),
            AnalysisState.CANCELLED,
            found.started,
            found.started,
            self.now,
            segments=found.segments,
            failure=Failed("CANCELLED", "CANCELLED", f"ended by {who}: {why}", False),
        )

    async def alerts(self, query: AlertFilter, limit: int = 100) -> Sequence[Alert]:
        self._refuse()
        found = [
            each
            for each in sorted(self.raised, key=lambda each: each.raised, reverse=True)
            if query.level in (None, each.level)
            and not (query.open and each.resolved)
            and (
                not query.component
                or Silence("", query.component, self.now + timedelta(1), "", "", self.now).covers(
                    each.component, self.now
                )
            )
        ]
        return found[:limit]

    async def silences(self) -> Sequence[Silence]:
        self._refuse()
        return [each for each in self.quiet.values() if each.until > self.now]

    async def silence(self, pattern: str, seconds: float, *, who: str, why: str) -> Silence:
        self._refuse()
        if not (pattern and seconds > 0):
            raise InvalidRequest("a silence has a pattern, and lasts")
        made = Silence(f"s-{len(self.quiet) + 1}", pattern, self.now + timedelta(seconds=seconds), who, why, self.now)
        self.quiet[made.id] = made
        return made

    async def end_silence(self, silence_id: str) -> None:
        self._refuse()
        if self.quiet.pop(silence_id, None) is None:
            raise NotFound("there is no such silence")

    async def set_maintenance(self, on: bool, *, who: str, why: str) -> None:
        self._refuse()
        self.maintained = (who, why) if on else ("", "")
        self.done.append(("maintenance", "on" if on else "off", who, why))

    async def clean_up(self, *, dry_run: bool, who: str, why: str) -> Cleaned:
        self._refuse()
        if not who:
            raise InvalidRequest("say who cleans up")
        old = self.old
        if not dry_run:
            self.done.append(("clean_up", who, why))
            self.old = Cleaned()
        return old

    def drain(self, *, who: str, why: str) -> None:
        self.draining = True
        self.done.append(("drain", who, why))

    def reload(self, *, who: str, why: str) -> Sequence[str]:
        self._refuse()
        self.done.append(("reload", who, why))
        return self.changed

    def _refuse(self) -> None:
        if self.refusal is not None:
            raise self.refusal


def _check_hours(hours: float) -> None:
    if not 0 < hours <= MAX_HOURS:
        raise InvalidRequest(f"hours are above 0 and at most {MAX_HOURS}, got {hours:g}")


def eventful(now: datetime | None = None) -> FakeOperations:
    """A server with sessions (one is stuck), alerts of every kind and a silence."""
    operations = FakeOperations() if now is None else FakeOperations(now)
    now = operations.now
    operations.running = [
        Session("a-1", SERVER, "news", "default", "analysing", 1, 41, 754.0, 2700.0, 0.21, *_at(now, 158, 2), False),
        Session("a-2", SERVER, "", "thorough", "analysing", 3, 7, 61.0, 5400.0, 31.2, *_at(now, 7320, 2460), True),
        Session("a-3", "video-2", "news", "fast", "waiting for bytes", 1, 0, 0.0, None, 0.0, *_at(now, 9, 9), False),
    ]
    operations.raised = [
        _alert("l-4", "model/shots", Level.CRITICAL, "its process died 4 times in 10 minutes", now, 12, notified=True),
        _alert("l-3", "disk/data", Level.WARNING, "84.3 % used, warns from 80.0 % on", now, 300, silenced="s-1"),
        _alert("l-2", "queue", Level.WARNING, "37 analyses wait, warns from 24 on", now, 45),
        _alert("l-1", "triton", Level.CRITICAL, "does not answer", now, 2880, resolved=2871, notified=True),
    ]
    operations.quiet = {
        "s-1": Silence("s-1", "disk/*", now + timedelta(hours=2), "ops@desk", "the new disk comes at noon", now)
    }
    return operations


def _at(now: datetime, started: float, progressed: float) -> tuple[datetime, datetime]:
    return now - timedelta(seconds=started), now - timedelta(seconds=progressed)


def _alert(
    alert_id: str,
    component: str,
    level: Level,
    summary: str,
    now: datetime,
    minutes: float,
    *,
    resolved: float | None = None,
    silenced: str = "",
    notified: bool = False,
) -> Alert:
    raised = now - timedelta(minutes=minutes)
    over = None if resolved is None else now - timedelta(minutes=resolved)
    return Alert(alert_id, SERVER, component, level, summary, 1.0, raised, raised, over, silenced, notified)
