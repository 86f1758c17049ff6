"""What operators type, against a real server in this process: what is asked, what is shown, and how it ends."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from orchestrator.api.client import ClientError
from orchestrator.cli import describe_operations as describe
from orchestrator.cli import exits, servers
from orchestrator.cli.main import app
from orchestrator.core.health import up
from orchestrator.core.retention import Cleaned
from orchestrator.errors import InvalidRequest
from tests.support.api_server import served
from tests.support.operations import OLD, FakeOperations, eventful

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)

Reelsift = Callable[[str], Result]


@pytest.fixture
def operations() -> FakeOperations:
    return eventful(NOON)


@pytest.fixture
def reelsift(operations: FakeOperations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reelsift]:
    """Runs a command against a server of ``operations``."""
    monkeypatch.setattr(describe, "now", NOON.timestamp)
    with served(operations, tmp_path) as address:
        monkeypatch.setenv("REELSIFT_SERVER", address)

        def run(line: str) -> Result:
            result = CliRunner().invoke(app, words(line))
            assert result.exception is None or isinstance(result.exception, SystemExit | ClientError), result.output
            return result

        yield run


def words(line: str) -> list[str]:
    """``line`` split, with one argument in quotes."""
    before, quote, quoted = line.partition("'")
    inner, _, after = quoted.partition("'")
    return [*before.split(), *([inner] if quote else []), *after.split()]


def rows(result: Result) -> dict[str, str]:
    """The lines of a table by their first word."""
    return {line.split()[0]: line for line in result.stdout.splitlines() if line.split()}


def test_health_shows_the_worst_first_with_limits_and_pages(reelsift: Reelsift) -> None:
    result = reelsift("health")
    assert result.exit_code == exits.FAILED
    head, _, columns, first, *_ = result.stdout.splitlines()
    assert head == "critical  video-1: 1 critical, 3 warning, 8 healthy, at 2026-11-22 12:00:00Z"
    assert columns.split() == ["component", "status", "value", "warning", "critical", "since", "runbook", "detail"]
    assert first.split()[:2] == ["model/shots", "critical"]
    table = rows(result)
    for part in ("down", "12 min", "ops/runbooks/model.md", "its process died 4 times"):
        assert part in table["model/shots"]
    for part in ("84.3 %", "≥ 80 %", "≥ 90 %", "5 h", "ops/runbooks/disk.md", "78.4 GB free"):
        assert part in table["disk/data"]
    assert "12 d  ≤ 14 d" in table["certificate/api"]
    assert "37 analyses  ≥ 24 " in table["queue"]
    assert "runbooks" not in table["triton"]
    assert "4 ms" in table["database"]


def test_the_exit_status_of_health(reelsift: Reelsift, operations: FakeOperations) -> None:
    assert reelsift("health --component 'disk/*'").exit_code == exits.OK, "a warning works"
    assert reelsift("health --component 'disk/*' --strict").exit_code == exits.FAILED
    assert reelsift("health --component triton --component 'model/*'").exit_code == exits.FAILED
    assert reelsift("health --component 'model/*' --for 10m").exit_code == exits.FAILED
    assert reelsift("health --component 'model/*' --for 13m").exit_code == exits.OK, "it has not lasted so long"
    assert reelsift("health --component nothing").exit_code == exits.OK
    operations.readings = [(up("triton", True), timedelta(1))]
    assert reelsift("health --strict").exit_code == exits.OK
    nobody = reelsift("health --server unix:nobody")
    assert isinstance(nobody.exception, ClientError)
    assert exits.fail(nobody.exception) == exits.FAILED


def test_what_need_not_be_there_is_not_down(reelsift: Reelsift, operations: FakeOperations) -> None:
    absent = replace(up("gpu", True, "none is used"), value=0.0)
    operations.readings = [(absent, timedelta(1))]
    (line,) = reelsift("health").stdout.splitlines()[3:]
    assert line.split() == ["gpu", "healthy", "1", "d", "none", "is", "used"]


def test_health_as_json(reelsift: Reelsift) -> None:
    result = reelsift("health --json --component 'disk/*'")
    found = json.loads(result.stdout)
    assert (found["status"], [each["component"] for each in found["components"]]) == (
        "HEALTH_STATUS_WARNING",
        ["disk/data"],
    )


def test_status(reelsift: Reelsift, operations: FakeOperations) -> None:
    result = reelsift("status")
    assert result.exit_code == 0, result.output
    table = rows(result)
    assert table["server"].split() == ["server", "video-1"]
    assert "3 d, since 2026-11-19 10:00:00Z" in table["up"]
    assert table["new"].split() == ["new", "analyses", "taken"]
    assert table["shots"].split()[1] == "no"
    assert "the model shots is not loaded" in table["shots"]
    assert "triton 2.59.0" in result.stdout
    assert json.loads(reelsift("status --json").stdout)["versions"]["python"] == "3.11.2"


def test_stats(reelsift: Reelsift, operations: FakeOperations) -> None:
    result = reelsift("stats --hours 24")
    assert result.exit_code == 0, result.output
    table = rows(result)
    assert "484 ended: 472 succeeded, 12 of them partial, 6 failed, 2 quarantined, 4 cancelled" in table["analyses"]
    assert "98.3 %" in table["success"]
    assert table["frames"].split()[1:] == ["6,480,000", "decoded,", "960", "corrupt"]
    assert table["realtime"].split() == ["realtime", "factor", "0.18", "0.16", "0.35", "0.90"]
    assert "1 min 36 s" in table["elapsed"]
    assert table["MEDIA_UNREADABLE"].split()[1:4] == ["6", "75", "%"]
    assert "39.3 %" in table["infer/shots"]
    assert "63.8 %" in table["model/shots"]
    assert "fetch" not in table, "which is no work"
    assert "67.3 % of 528,000 sampled frames" in table["near-duplicates"]
    assert json.loads(reelsift("stats --hours 6 --json").stdout)["succeededCount"] == 118
    empty = reelsift("stats --profile nothing")
    assert "none ended" in empty.stdout
    assert "elapsed" not in empty.stdout
    assert reelsift("stats --hours 9999").exit_code == exits.USAGE


def test_sessions(reelsift: Reelsift, operations: FakeOperations) -> None:
    result = reelsift("sessions")
    assert result.stdout == reelsift("sessions list").stdout
    table = rows(result)
    assert list(table) == ["id", "a-2", "a-1", "a-3"]
    for part in ("analysing, stuck", "1 % of 1 h 30 min", "31.20", "2 h", "41 min", "thorough"):
        assert part in table["a-2"]
    assert "28 % of 45 min " in table["a-1"]
    assert "waiting for bytes" in table["a-3"]
    assert [json.loads(line)["analysisId"] for line in reelsift("sessions --json").stdout.splitlines()] == [
        "a-2",
        "a-1",
        "a-3",
    ]
    ended = reelsift("sessions terminate a-2 --why stuck --who me")
    assert ended.stdout == "a-2 cancelled, 7 segments stay\n"
    assert operations.done == [("terminate", "a-2", "me", "stuck")]
    assert isinstance(reelsift("sessions terminate a-2").exception, ClientError)
    operations.running.clear()
    assert reelsift("sessions").stdout == "nothing runs\n"


def test_alerts(reelsift: Reelsift, operations: FakeOperations) -> None:
    result = reelsift("alerts")
    lines = result.stdout.splitlines()
    assert len(lines) == 5
    for line, parts in zip(
        lines[1:],
        (
            ("critical", "model/shots", "open for 12 min ", "ops/runbooks/model.md"),
            ("warning", "queue", "open for 45 min, not delivered"),
            ("warning", "disk/data", "open for 5 h, silenced"),
            ("critical", "triton", "over after 9 min", "does not answer"),
        ),
        strict=True,
    ):
        for part in parts:
            assert part in line
    assert len(reelsift("alerts --level critical").stdout.splitlines()) == 3
    assert len(reelsift("alerts list --level critical --open").stdout.splitlines()) == 2
    assert len(reelsift("alerts --limit 1 --json").stdout.splitlines()) == 1
    assert reelsift("alerts --component 'gpu/*'").stdout == "no alerts\n"
    assert reelsift("alerts --level awful").exit_code == exits.USAGE


def test_silences(reelsift: Reelsift, operations: FakeOperations) -> None:
    made = reelsift("alerts silence 'model/*' --for 1h30m --why upgrade")
    assert made.stdout == "s-2: model/* until 2026-11-22 13:30:00Z\n"
    assert operations.quiet["s-2"].who == servers.me()
    listed = rows(reelsift("alerts silences"))
    assert "upgrade" in listed["s-2"]
    assert "ops@desk" in listed["s-1"]
    assert reelsift("alerts unsilence s-1").exit_code == 0
    assert reelsift("alerts unsilence s-2").exit_code == 0
    assert reelsift("alerts silences").stdout == "no silences\n"
    assert json.loads(reelsift("alerts silence 'x' --for 5m --json").stdout)["pattern"] == "x"
    assert reelsift("alerts silence 'x'").exit_code == exits.USAGE
    assert reelsift("alerts silence 'x' --for soon").exit_code == exits.USAGE


def test_steering(reelsift: Reelsift, operations: FakeOperations) -> None:
    on = reelsift("maintenance on --why 'new disk'")
    assert "new disk, by" in on.stdout
    assert "refused" in on.stdout
    assert "taken" in reelsift("maintenance off").stdout
    assert reelsift("maintenance on").exit_code == exits.USAGE, "nobody would know why"
    assert reelsift("maintenance perhaps").exit_code == exits.USAGE
    assert reelsift("reload").stdout == "changed: log_level, limits.disk.warning\n"
    assert json.loads(reelsift("reload --json").stdout) == {"changed": ["log_level", "limits.disk.warning"]}
    operations.changed = ()
    assert reelsift("reload").stdout == "nothing has changed\n"
    operations.refusal = InvalidRequest("listen needs a restart")
    assert "listen needs a restart" in str(reelsift("reload").exception)
    operations.refusal = None
    assert "drains" in reelsift("drain --why upgrade --who me").stdout
    assert operations.done[-1] == ("drain", "me", "upgrade")


def test_a_server_cleans_up(reelsift: Reelsift, operations: FakeOperations) -> None:
    at = f"cleanup --server {os.environ['REELSIFT_SERVER']}"
    would = reelsift(f"{at} --dry-run")
    assert rows(would)["uploads"].split() == ["uploads", "u-1", "5.0", "GB", "age"]
    assert "1 things, 5.0 GB, would go" in would.stdout
    assert operations.done == []
    assert "1 things, 5.0 GB, are gone" in reelsift(f"{at} --why room").stdout
    assert operations.done == [("clean_up", servers.me(), "room")]
    operations.old = Cleaned((), ((OLD.removed[0], "ANALYSIS_NOT_ENDED"),))
    kept = reelsift(at)
    assert (kept.exit_code, kept.stderr) == (exits.FAILED, "left: uploads u-1 (ANALYSIS_NOT_ENDED)\n")


@pytest.mark.parametrize("group", ["sessions", "alerts"])
def test_groups_explain_themselves(group: str) -> None:
    told = CliRunner().invoke(app, [group, "--help"])
    assert told.exit_code == 0
    assert "list" in told.stdout
    assert CliRunner().invoke(app, [group, "lst"]).exit_code == exits.USAGE


@pytest.mark.parametrize(
    ("given", "seconds"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("2d", 172_800), ("0.5h", 1800)]
)
def test_durations(given: str, seconds: float) -> None:
    assert servers.seconds_of(given) == seconds


@pytest.mark.parametrize("given", ["", "10", "m", "1.5.h", "1h 3m", "-1h", "2w", "1..5h"])
def test_durations_that_are_none(given: str) -> None:
    with pytest.raises(typer.BadParameter):
        servers.seconds_of(given)


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [
        (1, "", "up"),
        (0, "", "down"),
        (3, "", "3"),
        (1.5e9, "bytes", "1.5 GB"),
        (0.813, "ratio", "81.3 %"),
        (0.8, "ratio", "80 %"),
        (0.0004, "ratio", "0.04 %"),
        (0.9997, "ratio", "99.97 %"),
        (1.0, "ratio", "100 %"),
        (0.0, "ratio", "0 %"),
        (0.0123, "seconds", "12.3 ms"),
        (0, "seconds", "0 ms"),
        (1, "seconds", "1.0 s"),
        (65, "seconds", "1 min 5 s"),
        (120, "seconds", "2 min"),
        (36_000, "seconds", "10 h"),
        (172_800, "seconds", "2 d"),
        (-90_000, "seconds", "-1 d 1 h"),
        (12, "analyses", "12 analyses"),
    ],
)
def test_quantities(value: float, unit: str, words: str) -> None:
    assert describe.quantity(value, unit) == words


def test_what_others_named_cannot_steer_the_terminal(reelsift: Reelsift, operations: FakeOperations) -> None:
    evil = "\x1b[2Jx"
    operations.maintained = (evil, evil)
    operations.readings = [(up("triton", False, evil), timedelta(1))]
    operations.running[0] = type(operations.running[0])(
        "a-1", evil, evil, evil, evil, 1, 0, 0, None, 0, NOON, NOON, False
    )
    for line in ("health", "status", "sessions", "alerts", "alerts silences"):
        assert "\x1b" not in reelsift(line).stdout
