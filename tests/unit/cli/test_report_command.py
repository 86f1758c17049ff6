"""The report of operations: what it tells of two periods, alone, and what hostile names cannot do to it; and the planner of capacity."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from orchestrator.cli import exits
from orchestrator.cli.main import app
from orchestrator.cli.report import slots
from orchestrator.core.statistics import Sample, Stats
from orchestrator.errors import FailedPrecondition
from tests.support.api_server import served
from tests.support.operations import FakeOperations, eventful
from tests.unit.cli.test_analysis_page import Page

Reelsift = Callable[..., Result]


@pytest.fixture
def operations() -> FakeOperations:
    """Twice as busy since a week ago."""
    made = eventful()
    made.scale = lambda until: 2.0 if until > made.now - timedelta(days=6, hours=23) else 1.0
    return made


@pytest.fixture
def reelsift(operations: FakeOperations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reelsift]:
    monkeypatch.chdir(tmp_path)
    with served(operations, tmp_path) as address:
        yield lambda *words: CliRunner().invoke(app, [*words, "--server", address])


def page_of(result: Result, path: Path) -> tuple[str, Page]:
    assert result.exit_code == 0, result.output
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


def test_a_week_beside_the_week_before(reelsift: Reelsift, tmp_path: Path) -> None:
    text, page = page_of(reelsift("report", "--days", "7"), tmp_path / "report.html")
    words = " ".join(page.text.split())
    for part in (
        "7 d before",
        "before 3,393 · +100.0 %",
        "realtime factor, half within",
        "MEDIA_UNREADABLE",
        "infer/shots",
        "disk/data",
        "does not answer",
        "still open",
        "Analyses waiting",
        "at this pace full in 40 d",
    ):
        assert part in words, part
    assert "model/shots" not in re.sub(r"<tbody>.*?</tbody>", "", text, flags=re.DOTALL), "it is part of a stage"
    assert text.count("<svg") == 4 + 5
    assert text.count("<polyline") >= 2 + 5


def test_it_needs_nothing_else_and_lets_nobody_in(
    reelsift: Reelsift, operations: FakeOperations, tmp_path: Path
) -> None:
    evil = "<script>alert(1)</script>"
    operations.raised = [replace(each, summary=evil, component=evil) for each in operations.raised]
    stats = operations.stats

    async def hostile(*words: object, **how: object) -> Stats:
        found = await stats(*words, **how)  # type: ignore[arg-type]
        return replace(found, reasons={evil: 3}, stages={evil: 5.0})

    operations.stats = hostile  # type: ignore[method-assign, assignment]
    text, page = page_of(reelsift("report", "--out", "other.html"), tmp_path / "other.html")
    assert evil in page.text
    assert "<script" not in text
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "object", "embed", "link", "base", "img", "a"}
    assert not re.findall(r"@import|url\(|href=|src=", text)
    assert "default-src 'none'" in text


def test_nothing_was_done_and_nothing_measured(reelsift: Reelsift, operations: FakeOperations, tmp_path: Path) -> None:
    operations.scale, operations.raised = (lambda until: 0.0), []

    async def none(hours: float, server: str = "") -> list[Sample]:
        return []

    operations.samples = none  # type: ignore[method-assign, assignment]
    _, page = page_of(reelsift("report", "--days", "1"), tmp_path / "report.html")
    for words in ("Nothing was analysed.", "None.", "No server has measured itself", "Too little was analysed"):
        assert words in page.text


@pytest.mark.parametrize(
    ("days", "count", "hours"), [(0.5, 12, 1), (1, 24, 1), (7, 7, 24), (30, 30, 24), (90, 13, 168)]
)
def test_slots(days: float, count: int, hours: float) -> None:
    end = datetime(2026, 11, 22, 12, tzinfo=UTC)
    found = slots(days, end)
    assert (found.count, found.hours, found.ends[-1]) == (count, hours, end)
    assert found.begin == end - timedelta(hours=count * hours)
    assert slots(days, found.begin).end == found.begin


def test_capacity(reelsift: Reelsift) -> None:
    done = reelsift("capacity", "--load", "12 streams")
    assert done.exit_code == 0, done.output
    table = {line.split()[0]: line.split() for line in done.stdout.splitlines() if line.split()}
    assert table["places"] == ["places", "4.00", "3"]
    assert "3 hosts" in done.stdout
    found = json.loads(reelsift("capacity", "--load", "12 streams", "--json").stdout)
    assert found["hosts"] == 3
    assert found["measured"]["rates"]["places"] == 4
    assert {need["resource"] for need in found["plan"]["needs"]} == {"cpu", "places"}


def test_capacity_of_another_profile_and_of_more_frames(reelsift: Reelsift) -> None:
    def cpu(*words: str) -> float:
        found = json.loads(reelsift("capacity", "--load", "500 hours/day", "--json", *words).stdout)
        return float(found["measured"]["rates"]["costs"]["cpu"]["seconds"])

    plain = cpu()
    assert cpu("--profile", "thorough") == pytest.approx(2.5 * plain)
    few, many = (
        json.loads(reelsift("capacity", "--load", "5000 hours/day", "--fps", fps, "--json").stdout)["hosts"]
        for fps in ("25", "200")
    )
    assert many > few


def test_capacity_says_what_it_rests_on(reelsift: Reelsift, operations: FakeOperations) -> None:
    told = reelsift("capacity", "--load", "500 hours/day", "--fps", "50").stdout
    for words in ("1 server", "realtime factor", "at rest", "the mean (measured)", "grow with the frames"):
        assert words in told
    assert "(given)" in reelsift("capacity", "--load", "500 hours/day", "--peak", "3").stdout
    operations.sample_hours = 5.0
    assert "(assumed" in reelsift("capacity", "--load", "500 hours/day").stdout


def test_capacity_of_a_young_service_looks_closer(reelsift: Reelsift, operations: FakeOperations) -> None:
    """Of a week's answer its hour is one point: the mean of all."""
    whole, asked, operations.sample_hours = operations.samples, [], 1.0

    async def thinned(hours: float, server: str = "") -> list[Sample]:
        asked.append(hours)
        return list(await whole(hours, server))[:: 60 if hours > 24 else 1]

    operations.samples = thinned  # type: ignore[method-assign, assignment]
    assert reelsift("capacity", "--load", "5 streams").exit_code == 0
    assert asked == [168, pytest.approx(1.168, abs=0.05)]


def test_capacity_without_a_rate(reelsift: Reelsift, operations: FakeOperations) -> None:
    assert reelsift("capacity", "--load", "much").exit_code == exits.USAGE
    assert isinstance(reelsift("capacity", "--load", "5 streams", "--profile", "x").exception, FailedPrecondition)
    operations.scale = lambda until: 0.0
    refused = reelsift("capacity", "--load", "5 streams").exception
    assert isinstance(refused, FailedPrecondition)
    assert "nothing was analysed" in str(refused)
