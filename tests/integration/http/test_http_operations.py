"""What operators ask, as JSON, over a real server."""

from __future__ import annotations

from typing import Any

import pytest
import structlog

from orchestrator.core.health import up
from orchestrator.errors import InvalidRequest, StoreUnavailable
from tests.integration.http.conftest import Running, Serve

API = "/api/v1"
ME = {"who": "me@here", "why": "to see"}


async def get(running: Running, path: str, **query: Any) -> Any:
    answer = await running.client.get(f"{API}/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_health_answers_200_while_it_works_and_503_when_something_is_critical(serve: Serve) -> None:
    async with serve() as running:
        bad = await running.client.get(f"{API}/health/detailed")
        assert bad.status_code == 503
        found = bad.json()["health"]
        assert found["status"] == "HEALTH_STATUS_CRITICAL"
        (disk,) = [each for each in found["components"] if each["component"] == "disk/data"]
        assert (disk["status"], disk["value"], disk["unit"], disk["limits"], disk["runbook"]) == (
            "HEALTH_STATUS_WARNING",
            0.843,
            "ratio",
            {"warning": 0.8, "critical": 0.9},
            "disk",
        )
        assert disk["since"].endswith("Z")
        running.operations.readings = [each for each in running.operations.readings if each[0].value]
        still = [each for each in running.operations.readings if each[0].status == 1]
        assert still
        assert (await get(running, "health/detailed"))["health"]["status"] == "HEALTH_STATUS_WARNING"
        running.operations.readings = [(up("triton", True), each[1]) for each in running.operations.readings[:1]]
        assert (await get(running, "health/detailed"))["health"]["status"] == "HEALTH_STATUS_HEALTHY"


async def test_what_is_asked_all_day_is_logged_in_debug_logs_alone(serve: Serve) -> None:
    async with serve() as running:
        with structlog.testing.capture_logs() as logs:
            await running.client.get(f"{API}/health/detailed")
            await running.client.get(f"{API}/status")
        levels = {each["path"]: each["log_level"] for each in logs if each["event"] == "http.call"}
        assert levels == {f"{API}/health/detailed": "debug", f"{API}/status": "info"}


async def test_status(serve: Serve) -> None:
    async with serve() as running:
        status = (await get(running, "status"))["status"]
        assert (status["accepting"], status["maintenance"], status["versions"]["reelsift"]) == (True, "", "0.1.0")
        assert {each["name"]: each["ready"] for each in status["capabilities"]}["shots"] is False


async def test_stats_and_samples(serve: Serve) -> None:
    async with serve() as running:
        day = (await get(running, "stats"))["stats"]
        assert (day["hours"], day["succeededCount"], day["reasons"]) == (
            24,
            472,
            {"MEDIA_UNREADABLE": 6, "DECODER_CRASHED": 2},
        )
        assert day["successRate"] == pytest.approx(472 / 480)
        assert (await get(running, "stats", hours=6))["stats"]["succeededCount"] == 118
        slow = await get(running, "stats", profile="thorough", until="2026-11-01T00:00:00Z")
        assert slow["stats"]["realtimeFactor"]["mean"] > day["realtimeFactor"]["mean"]
        samples = (await get(running, "metrics/system", hours=0.5))["samples"]
        assert len(samples) == 30
        assert {"cpu_ratio", "memory_bytes", "running"} <= samples[0]["values"].keys()


@pytest.mark.parametrize("level", ["critical", "ALERT_LEVEL_CRITICAL"])
async def test_alerts_are_chosen_by_short_names_too(serve: Serve, level: str) -> None:
    async with serve() as running:
        found = (await get(running, "alerts", level=level, open="true", limit=5))["alerts"]
        assert [(each["alertId"], each["level"], each["runbook"]) for each in found] == [
            ("l-4", "ALERT_LEVEL_CRITICAL", "model")
        ]
        assert "resolveTime" not in found[0]
        assert len((await get(running, "alerts", limit=2))["alerts"]) == 2
        assert len((await get(running, "alerts", component="disk/*"))["alerts"]) == 1
        assert len((await get(running, "analyses", states="running"))["analyses"]) == 0


async def test_sessions(serve: Serve) -> None:
    async with serve() as running:
        found = (await get(running, "sessions"))["sessions"]
        assert [(each["analysisId"], each["stuck"]) for each in found] == [
            ("a-2", True),
            ("a-1", False),
            ("a-3", False),
        ]
        answer = await running.client.post(f"{API}/sessions/a-2:terminate", json=ME)
        assert answer.json()["analysis"]["state"] == "ANALYSIS_STATE_CANCELLED"
        assert len((await get(running, "sessions"))["sessions"]) == 2


async def test_silences(serve: Serve) -> None:
    async with serve() as running:
        made = await running.client.post(f"{API}/silences", json={"pattern": "model/*", "durationSeconds": 60, **ME})
        assert made.status_code == 200, made.text
        silence_id = made.json()["silence"]["silenceId"]
        assert [each["pattern"] for each in (await get(running, "silences"))["silences"]] == ["disk/*", "model/*"]
        assert (await running.client.delete(f"{API}/silences/{silence_id}")).status_code == 200
        assert (await running.client.delete(f"{API}/silences/{silence_id}")).status_code == 404
        assert len((await get(running, "silences"))["silences"]) == 1


async def test_steering(serve: Serve) -> None:
    async with serve() as running:
        client = running.client
        on = await client.post(f"{API}/maintenance", json={"on": True, **ME})
        assert (on.json()["status"]["accepting"], on.json()["status"]["maintenanceBy"]) == (False, "me@here")
        off = await client.post(f"{API}/maintenance", json={"on": False, **ME})
        assert off.json()["status"]["accepting"] is True
        assert (await client.post(f"{API}/settings:reload", json=ME)).json()["changed"] == [
            "log_level",
            "limits.disk.warning",
        ]
        gone = {"kind": "uploads", "name": "u-1", "sizeBytes": "5000000000", "reason": "age"}
        for body in ({"dryRun": True, **ME}, ME):
            answer = (await client.post(f"{API}:cleanup", json=body)).json()
            assert (answer["removedCount"], answer["removedBytes"]) == (1, "5000000000")
            assert answer["removals"][0].items() >= gone.items()
        assert (await client.post(f"{API}:drain", json=ME)).json() == {}
        assert [each[0] for each in running.operations.done] == [
            "maintenance", "maintenance", "reload", "clean_up", "drain",
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "path", "body", "status", "reason"),
    [
        ("GET", "stats?hours=0", None, 400, "INVALID_REQUEST"),
        ("GET", "stats?hours=9000", None, 400, "INVALID_REQUEST"),
        ("GET", "stats?hours=NaN", None, 400, "INVALID_REQUEST"),
        ("GET", "stats?hours=day", None, 400, "INVALID_REQUEST"),
        ("GET", "stats?days=1", None, 400, "INVALID_REQUEST"),
        ("GET", "metrics/system?hours=-1", None, 400, "INVALID_REQUEST"),
        ("GET", "alerts?level=awful", None, 400, "INVALID_REQUEST"),
        ("GET", "alerts?limit=1001", None, 400, "INVALID_REQUEST"),
        ("GET", "alerts?open=maybe", None, 400, "INVALID_REQUEST"),
        ("POST", "sessions/nothing:terminate", ME, 404, "NOT_FOUND"),
        ("POST", "sessions/a-1:terminate", {}, 400, "INVALID_REQUEST"),
        ("POST", "maintenance", {"on": True, "who": "me"}, 400, "INVALID_REQUEST"),
        ("POST", "silences", {"pattern": "*", "durationSeconds": "NaN", **ME}, 400, "INVALID_REQUEST"),
        ("GET", ":drain", None, 404, "UNKNOWN_ROUTE"),
        ("PUT", "maintenance", ME, 405, "METHOD_NOT_ALLOWED"),
    ],
)
async def test_refusals(serve: Serve, verb: str, path: str, body: Any, status: int, reason: str) -> None:
    async with serve() as running:
        answer = await running.client.request(verb, f"{API}/{path}", json=body)
        assert answer.status_code == status, answer.text
        assert reason in answer.text
        assert running.operations.done == []


@pytest.mark.parametrize(
    "path", [":drain", ":cleanup", "/settings:reload", "/maintenance", "/silences", "/sessions/a-1:terminate"]
)
async def test_no_page_that_somebody_visits_can_steer(serve: Serve, path: str) -> None:
    """It could send an empty body, or one that is no JSON."""
    async with serve() as running:
        assert (await running.client.post(f"{API}{path}")).status_code == 400
        form = await running.client.post(f"{API}{path}", content=b'{"who": "me", "why": "x", "on": true}')
        assert form.status_code == 415
        assert (running.operations.done, running.operations.draining) == ([], False)


async def test_errors_of_the_application(serve: Serve) -> None:
    async with serve() as running:
        running.operations.refusal = StoreUnavailable("the database does not answer")
        answer = await running.client.get(f"{API}/stats")
        assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
        running.operations.refusal = InvalidRequest("listen needs a restart")
        assert (await running.client.post(f"{API}/settings:reload", json=ME)).status_code == 400
