"""Rules and dashboards use metrics that exist, with labels and values that they have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.adapters.telemetry.metrics import Metrics
from orchestrator.core.jobs import AnalysisState
from orchestrator.core.rollout import Action
from tests.support.promql import expression, labels_of_template, matchers, needs
from tests.support.series import OPS, alerts, known, ours, recorded

DASHBOARDS = sorted((OPS / "grafana" / "dashboards").glob("*.json"))


def panels(page: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in page["panels"]:
        yield panel
        yield from panel.get("panels", [])


def queries() -> Iterator[tuple[str, str, frozenset[str]]]:
    """Where it is, PromQL, and the labels that its legend names; of every panel and the marks on it."""
    for path in DASHBOARDS:
        page = json.loads(path.read_text(encoding="utf-8"))
        for panel in panels(page):
            for target in panel.get("targets", []):
                if target["datasource"]["type"] == "prometheus":
                    named = labels_of_template(target.get("legendFormat", ""))
                    yield f"{path.stem}: {panel['title']}", expression(target["expr"]), named
        for mark in page["annotations"]["list"]:
            named = labels_of_template(mark["titleFormat"] + mark["textFormat"])
            yield f"{path.stem}: marks", expression(mark["expr"]), named


def everything() -> list[tuple[str, str, frozenset[str]]]:
    found = [(name, rule["expr"], named(rule)) for name, rule in alerts().items()]
    found += [(name, text, frozenset()) for name, text in recorded().items()]
    return found + list(queries())


def named(rule: dict[str, Any]) -> frozenset[str]:
    return frozenset().union(*map(labels_of_template, rule["annotations"].values())) - {"value"}


EVERYTHING = everything()


@pytest.mark.parametrize(("place", "text", "labels"), EVERYTHING, ids=[each[0] for each in EVERYTHING])
def test_metrics_and_labels_exist(place: str, text: str, labels: frozenset[str]) -> None:
    there = known()
    for metric, wanted in needs(text, labels).items():
        assert metric in there, f"{place}: there is no metric {metric}"
        assert wanted <= there[metric], f"{place}: {metric} has no label {sorted(wanted - there[metric])}"


def test_a_metric_or_label_that_does_not_exist_is_noticed() -> None:
    there = known()
    assert "reelsift_analyses_waiting" not in there
    wanted = needs('sum by (tenant) (reelsift_analyses_ended_total{state="failed"})')["reelsift_analyses_ended_total"]
    assert wanted - there["reelsift_analyses_ended_total"] == {"tenant"}
    with pytest.raises(ValueError, match="component"):
        needs("sum by (instance) (reelsift_health)", frozenset({"component"}))
    with pytest.raises(ValueError, match="parenthesis"):
        needs("sum(rate(x[5m])")


def test_values_of_labels_exist() -> None:
    """Labels whose values are written down in the code."""
    states = {state.value.lower() for state in AnalysisState if state.ended}
    actions = {action.value.lower() for action in Action}
    vocabulary = {
        ("reelsift_analyses_ended_total", "state"): states,
        ("instance:reelsift_analyses_ended:increase1h", "state"): states,
        ("reelsift_model_steps_total", "action"): actions,
        ("reelsift_model_steps_total", "automatic"): {"true", "false"},
    }
    seen = set()
    for place, text, _ in EVERYTHING:
        for metric, label, value in matchers(text):
            if (metric, label) in vocabulary:
                seen.add((metric, label))
                assert value in vocabulary[metric, label], f"{place}: {metric} never has {label}={value}"
    assert seen == set(vocabulary)


def test_every_metric_of_the_service_is_looked_at() -> None:
    """None is exported in vain: each is in a rule or on a dashboard."""
    used = {metric for _, text, _ in EVERYTHING for metric in needs(text)}
    bare = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in used}
    families = {family.name + ("_total" if family.type == "counter" else "") for family in Metrics().registry.collect()}
    assert {name for name in families if name.startswith("reelsift_")} - bare == set()
    assert {name for name in used if name.startswith("reelsift_")} <= set(ours())
