"""What operators look at becomes messages that say the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.api import convert_operations as convert
from orchestrator.api import messages as pb
from orchestrator.core.alerting import Alert, Level, Silence
from orchestrator.core.health import Component, Health, Limits, measured, up
from orchestrator.core.jobs import AnalysisState
from orchestrator.core.statistics import Capability, Sample, ServiceStatus, Session, Spread, Stats
from orchestrator.errors import InvalidRequest

NOW = datetime(2026, 11, 22, 12, 0, 0, 500_000, UTC)


def test_health_is_that_of_the_worst_and_each_part_names_its_page() -> None:
    disk = measured("disk/data", 5.0, "bytes", Limits(10.0, 3.0), "little")
    made = convert.health(
        Health("here", NOW, (Component(up("triton", True), NOW), Component(disk, NOW - timedelta(1))))
    )
    assert (made.server, made.look_time.ToDatetime(UTC)) == ("here", NOW)
    assert made.status == pb.HealthStatus.HEALTH_STATUS_WARNING
    triton, data = made.components
    assert (triton.value, triton.unit, triton.HasField("limits"), triton.runbook) == (1.0, "", False, "triton")
    assert data.status == pb.HealthStatus.HEALTH_STATUS_WARNING
    assert (data.limits.warning, data.limits.critical, data.unit, data.detail) == (10.0, 3.0, "bytes", "little")
    assert (data.component, data.runbook, data.since.ToDatetime(UTC)) == ("disk/data", "disk", NOW - timedelta(1))


@pytest.mark.parametrize(("works", "name"), [(True, "HEALTHY"), (False, "CRITICAL")])
def test_each_status_has_its_name(works: bool, name: str) -> None:
    made = convert.health(Health("", NOW, (Component(up("triton", works), NOW),)))
    assert pb.HealthStatus.Name(made.status) == f"HEALTH_STATUS_{name}"
    assert made.components[0].status == made.status


def test_a_status() -> None:
    status = ServiceStatus(
        "here", NOW, True, versions={"python": "3"}, capabilities=(Capability("search", False, "no"),)
    )
    made = convert.service_status(status)
    assert (made.accepting, made.maintenance, made.HasField("maintenance_since")) == (True, "", False)
    assert (dict(made.versions), made.capabilities[0].name, made.capabilities[0].why) == (
        {"python": "3"},
        "search",
        "no",
    )
    later = convert.service_status(replace(status, maintenance="disk", maintenance_by="me", maintenance_since=NOW))
    assert (later.maintenance, later.maintenance_by, later.maintenance_since.ToDatetime(UTC)) == ("disk", "me", NOW)


def test_stats_count_by_state_and_tell_rates() -> None:
    found = Stats(
        hours=24,
        states={
            AnalysisState.SUCCEEDED: 6,
            AnalysisState.FAILED: 1,
            AnalysisState.CANCELLED: 5,
            AnalysisState.QUARANTINED: 1,
        },
        reasons={"DISK_FULL": 2},
        partial=3,
        media_seconds=7.5,
        elapsed=Spread(8, 1.0, 2.0, 3.0, 4.0),
        stages={"decode": 1.5},
        frames={"decoded": 1 << 40},
        frames_analyzed=8,
        frames_reused=2,
    )
    made = convert.stats(found)
    counts = (made.succeeded_count, made.failed_count, made.cancelled_count, made.quarantined_count, made.partial_count)
    assert counts == (6, 1, 5, 1, 3)
    assert (made.success_rate, made.duplicate_rate) == (0.75, 0.25)
    assert (dict(made.reasons), dict(made.stage_seconds), dict(made.frames)) == (
        {"DISK_FULL": 2},
        {"decode": 1.5},
        {"decoded": 1 << 40},
    )
    spread = made.elapsed
    assert (spread.count, spread.mean, spread.p50, spread.p95, spread.max) == (8, 1.0, 2.0, 3.0, 4.0)
    assert (made.hours, made.media_seconds, made.analyzed_frames, made.reused_frames) == (24, 7.5, 8, 2)
    assert convert.stats(Stats(1)).success_rate == 1.0


def test_samples_and_sessions() -> None:
    sample = convert.sample(Sample("here", NOW, {"cpu_ratio": 0.5}))
    assert (sample.server, sample.time.ToDatetime(UTC), dict(sample.values)) == ("here", NOW, {"cpu_ratio": 0.5})
    then = NOW - timedelta(minutes=1)
    running = Session("a-1", "here", "t", "fast", "opening", 2, 3, 4.5, None, 0.5, then, NOW, True)
    made = convert.session(running)
    assert (made.analysis_id, made.server, made.tenant, made.profile, made.stage) == (
        "a-1",
        "here",
        "t",
        "fast",
        "opening",
    )
    assert (made.attempt, made.segment_count, made.media_seconds, made.realtime_factor, made.stuck) == (
        2,
        3,
        4.5,
        0.5,
        True,
    )
    assert (made.start_time.ToDatetime(UTC), made.progress_time.ToDatetime(UTC)) == (then, NOW)
    assert not made.HasField("duration_seconds")
    assert convert.session(replace(running, duration_seconds=9.0)).duration_seconds == 9.0


def test_alerts_and_silences() -> None:
    raised = Alert("l-1", "here", "model/x", Level.CRITICAL, "gone", 0.0, NOW, NOW, None, "s-1", True)
    made = convert.alert(raised)
    assert (made.alert_id, made.component, made.runbook, made.summary) == ("l-1", "model/x", "model", "gone")
    assert (made.level, made.silence_id, made.notified) == (pb.AlertLevel.ALERT_LEVEL_CRITICAL, "s-1", True)
    assert not made.HasField("resolve_time")
    assert convert.alert(replace(raised, resolved=NOW)).resolve_time.ToDatetime(UTC) == NOW
    silence = convert.silence(Silence("s-1", "model/*", NOW, "me", "so", NOW - timedelta(1)))
    assert (silence.silence_id, silence.pattern, silence.who, silence.why) == ("s-1", "model/*", "me", "so")
    assert (silence.until.ToDatetime(UTC), silence.create_time.ToDatetime(UTC)) == (NOW, NOW - timedelta(1))


def test_levels_there_and_back() -> None:
    assert convert.level(pb.AlertLevel.ALERT_LEVEL_UNSPECIFIED) is None
    for level in Level:
        number = pb.AlertLevel.Value(f"ALERT_LEVEL_{level.value}")
        assert convert.level(number) is level
    with pytest.raises(InvalidRequest, match="level 9"):
        convert.level(9)  # type: ignore[arg-type]
