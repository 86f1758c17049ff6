"""The rules, by Prometheus' own tools."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.monitoring import prometheus_tool
from tests.support.series import OPS, RULES, alerts, groups

FOLDER = OPS / "prometheus"
CASES = sorted((FOLDER / "tests").glob("*.yml"))
PRIORITIES = {"critical": {"P0", "P1"}, "warning": {"P2", "P3"}, "info": {"P3"}, "none": {None}}


@pytest.mark.parametrize("config", ["prometheus.yml", "dns.yml"])
def test_prometheus_takes_the_configuration(config: str) -> None:
    done = prometheus_tool("promtool").run("check", "config", FOLDER / config)
    assert f"{len(RULES)} rule files found" in done.stdout


def test_both_configurations_differ_in_discovery_alone() -> None:
    def plain(name: str) -> dict[str, Any]:
        config: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
        jobs = {job["job_name"].removesuffix("-embedded") for job in config.pop("scrape_configs")}
        del config["alerting"]["alertmanagers"]
        return config | {"jobs": jobs}

    assert plain("prometheus.yml") == plain("dns.yml")


@pytest.mark.parametrize("cases", CASES, ids=lambda path: path.stem)
def test_alerts_fire_and_do_not(cases: Path) -> None:
    prometheus_tool("promtool").run("test", "rules", cases.name, cwd=cases.parent)


@pytest.mark.parametrize("cases", CASES, ids=lambda path: path.stem)
def test_cases_evaluate_every_group_in_its_turn(cases: Path) -> None:
    """Else promtool takes them in any order, and alerts see this value or the one before."""
    order = yaml.safe_load(cases.read_text(encoding="utf-8"))["group_eval_order"]
    assert order == [group["name"] for group in groups()]


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    fires: dict[bool, set[str]] = {True: set(), False: set()}
    for path in CASES:
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]:
            for case in group["alert_rule_test"]:
                fires[bool(case["exp_alerts"])].add(case["alertname"])
    assert fires[True] == fires[False] == set(alerts())


def test_the_page_lists_every_alert() -> None:
    page = (OPS / "monitoring.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(Reelsift\w+)`", page)) == set(alerts())


@pytest.mark.parametrize("name", alerts())
def test_an_alert_says_how_urgent_it_is_and_what_to_do(name: str) -> None:
    rule = alerts()[name]
    labels, words = rule["labels"], rule["annotations"]
    assert labels.get("priority") in PRIORITIES[labels["severity"]]
    assert set(words) == {"summary", "description", "runbook_url"}
    (page,) = re.findall(r"^\{\{ \$externalLabels\.runbooks \}\}/(.+\.md)$", words["runbook_url"])
    assert page == "{{ $labels.kind }}.md" or (OPS / "runbooks" / page).is_file()


def test_a_rule_that_breaks_its_promise_is_noticed(tmp_path: Path) -> None:
    """promtool is not pleased with everything."""
    text = (FOLDER / "tests" / "machine.yml").read_text(encoding="utf-8")
    broken = text.replace("../rules", str(FOLDER / "rules")).replace(
        "eval_time: 4m, exp_alerts: []", "eval_time: 12m, exp_alerts: []"
    )
    (tmp_path / "broken.yml").write_text(broken)
    done = prometheus_tool("promtool").run("test", "rules", "broken.yml", check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert "ReelsiftDiskF" in done.stdout + done.stderr
