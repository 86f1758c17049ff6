"""What operators send is checked before the application hears of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from orchestrator.api import messages as pb
from orchestrator.api.operations_handlers import OperationsMethods
from orchestrator.core.retention import Cleaned, Kind, Reason, Removal
from orchestrator.errors import InvalidRequest, NotFound, NotWatched
from tests.support.operations import eventful

ME = {"who": "me@here", "why": "to see"}


async def test_steering_says_who_and_why() -> None:
    fake = eventful()
    methods = OperationsMethods(fake)
    ended = await methods.terminate(pb.TerminateSessionRequest(analysis_id="a-2", **ME))
    assert ended.analysis.state == pb.AnalysisState.ANALYSIS_STATE_CANCELLED
    status = (await methods.set_maintenance(pb.SetMaintenanceRequest(on=True, **ME))).status
    assert (status.accepting, status.maintenance, status.maintenance_by) == (False, "to see", "me@here")
    assert (await methods.set_maintenance(pb.SetMaintenanceRequest(who="me@here"))).status.accepting
    assert list((await methods.reload(pb.ReloadSettingsRequest(**ME))).changed) == ["log_level", "limits.disk.warning"]
    await methods.clean_up(pb.CleanUpRequest(**ME))
    await methods.drain(pb.DrainRequest(**ME))
    assert fake.done == [
        ("terminate", "a-2", "me@here", "to see"),
        ("maintenance", "on", "me@here", "to see"),
        ("maintenance", "off", "me@here", ""),
        ("reload", "me@here", "to see"),
        ("clean_up", "me@here", "to see"),
        ("drain", "me@here", "to see"),
    ]


@pytest.mark.parametrize(
    ("method", "request_", "said"),
    [
        ("stats", pb.GetStatsRequest(hours=0), "hours"),
        ("stats", pb.GetStatsRequest(hours=-1), "hours"),
        ("stats", pb.GetStatsRequest(hours=float("nan")), "hours"),
        ("stats", pb.GetStatsRequest(hours=8761), "8760"),
        ("stats", pb.GetStatsRequest(profile="x" * 200), "profile"),
        ("samples", pb.ListSamplesRequest(hours=float("inf")), "hours"),
        ("samples", pb.ListSamplesRequest(server="\0"), "NUL"),
        ("alerts", pb.ListAlertsRequest(limit=-1), "limit"),
        ("alerts", pb.ListAlertsRequest(limit=1001), "limit"),
        ("silence", pb.CreateSilenceRequest(duration_seconds=5, **ME), "pattern"),
        ("silence", pb.CreateSilenceRequest(pattern="*", **ME), "duration_seconds"),
        ("silence", pb.CreateSilenceRequest(pattern="*", duration_seconds=float("nan"), **ME), "duration_seconds"),
        ("silence", pb.CreateSilenceRequest(pattern="*", duration_seconds=1e9, **ME), "duration_seconds"),
        ("silence", pb.CreateSilenceRequest(pattern="*", duration_seconds=5), "who"),
        ("end_silence", pb.EndSilenceRequest(), "silence_id"),
        ("set_maintenance", pb.SetMaintenanceRequest(on=True, who="me"), "why"),
        ("set_maintenance", pb.SetMaintenanceRequest(on=True, why="so"), "who"),
        ("terminate", pb.TerminateSessionRequest(who="me"), "analysis_id"),
        ("terminate", pb.TerminateSessionRequest(analysis_id="a-1"), "who"),
        ("clean_up", pb.CleanUpRequest(), "who"),
        ("clean_up", pb.CleanUpRequest(dry_run=True), "who"),
        ("drain", pb.DrainRequest(), "who"),
        ("reload", pb.ReloadSettingsRequest(why="x" * 2000, who="me"), "why"),
    ],
)
async def test_nonsense_is_refused(method: str, request_: Any, said: str) -> None:
    fake = eventful()
    before = (dict(fake.quiet), list(fake.running))
    with pytest.raises(InvalidRequest, match=said):
        await getattr(OperationsMethods(fake), method)(request_)
    assert (fake.done, fake.draining, fake.maintained) == ([], False, ("", ""))
    assert (dict(fake.quiet), list(fake.running)) == before


async def test_a_clean_up_names_what_could_not_go_and_a_thousand_things_at_most() -> None:
    fake = eventful()
    old = [Removal(Kind.UPLOADS, f"u-{number}", 10, Reason.AGE) for number in range(1500)]
    fake.old = Cleaned(tuple(old[1:]), ((old[0], "ANALYSIS_NOT_ENDED"),))
    would = await OperationsMethods(fake).clean_up(pb.CleanUpRequest(dry_run=True, **ME))
    done = await OperationsMethods(fake).clean_up(pb.CleanUpRequest(**ME))
    assert would == done
    assert (done.removed_count, done.removed_bytes, done.kept_count, len(done.removals)) == (1499, 14990, 1, 1000)
    assert done.removals[0] == pb.Removal(
        kind="uploads", name="u-0", size_bytes=10, reason="age", kept_because="ANALYSIS_NOT_ENDED"
    )
    assert not any(each.kept_because for each in done.removals[1:])


async def test_what_is_unknown_is_not_found() -> None:
    methods = OperationsMethods(eventful())
    for unknown in ("nothing", "a/b"):
        with pytest.raises(NotFound):
            await methods.terminate(pb.TerminateSessionRequest(analysis_id=unknown, **ME))
    with pytest.raises(NotFound):
        await methods.end_silence(pb.EndSilenceRequest(silence_id="s-9"))


async def test_a_day_and_a_hundred_alerts_are_meant_where_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    fake, asked = eventful(), []

    async def stats(hours: float, **how: Any) -> Any:
        asked.append((hours, how))
        return await type(fake).stats(fake, hours, **how)

    async def alerts(query: Any, limit: int) -> Any:
        asked.append((query.level, query.open, query.component, limit))
        return ()

    monkeypatch.setattr(fake, "stats", stats)
    monkeypatch.setattr(fake, "alerts", alerts)
    methods = OperationsMethods(fake)
    await methods.stats(pb.GetStatsRequest())
    request = pb.GetStatsRequest(hours=2.5, profile="fast")
    request.until.FromDatetime(datetime(2026, 1, 2, tzinfo=UTC))
    await methods.stats(request)
    await methods.alerts(pb.ListAlertsRequest())
    assert asked == [
        (24.0, {"until": None, "profile": ""}),
        (2.5, {"until": datetime(2026, 1, 2, tzinfo=UTC), "profile": "fast"}),
        (None, False, "", 100),
    ]


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("health", pb.GetHealthRequest()),
        ("status", pb.GetStatusRequest()),
        ("stats", pb.GetStatsRequest()),
        ("sessions", pb.ListSessionsRequest()),
        ("drain", pb.DrainRequest(**ME)),
    ],
)
async def test_a_server_that_keeps_no_account_says_so(method: str, request_: Any) -> None:
    with pytest.raises(NotWatched):
        await getattr(OperationsMethods(None), method)(request_)
