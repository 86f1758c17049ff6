"""Questions to the log, by Loki's grammar, and the way of a line to Loki: fields that the service writes, and no others."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from tests.support.logql import Parsed, parse
from tests.support.series import OPS

LOKI = OPS / "loki"
LABELS = {"service", "host", "level", "component"}
SHIPPING = sorted((LOKI / "alloy").glob("*.alloy"))


@pytest.fixture(scope="module")
def queries() -> dict[str, Parsed]:
    """Saved ones, and those of dashboards."""
    saved = {each["name"]: each["query"] for each in yaml.safe_load((LOKI / "queries.yml").read_text(encoding="utf-8"))}
    for path in (OPS / "grafana" / "dashboards").glob("*.json"):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel.get("targets", []):
                if target["datasource"]["type"] == "loki":
                    saved[f"{path.stem}: {panel['title']}"] = target["expr"]
    return dict(zip(saved, parse(list(saved.values())), strict=True))


def test_loki_reads_every_query(queries: dict[str, Parsed]) -> None:
    assert len(queries) > 10
    assert [name for name, query in queries.items() if query.error] == []
    (wrong,) = parse(['{service="reelsift"} | json |'])
    assert wrong.error


def test_streams_are_chosen_by_labels_that_lines_are_shipped_with(queries: dict[str, Parsed]) -> None:
    for name, query in queries.items():
        assert {label for label, _, _ in query.matchers} <= LABELS, name
        assert ("service", "=", "reelsift") in query.matchers, name


def test_fields_and_events_are_those_of_the_log(queries: dict[str, Parsed]) -> None:
    page = "".join((OPS / name).read_text(encoding="utf-8") for name in ("logs.md", "health.md"))
    events = set(re.findall(r"`([a-z]+\.[a-z_]+)`", page))
    fields = set(re.findall(r"`(\w+)`", page)) | LABELS
    for name, query in queries.items():
        named = {field for field, _, _ in query.filters} | query.fields
        assert named <= fields, f"{name}: no line has {sorted(named - fields)}"
        for field, operator, value in query.filters:
            if field == "event":
                assert operator in ("=", "=~")
                assert any(re.fullmatch(value, event) for event in events), f"{name}: nothing is logged as {value}"


def test_the_way_to_loki_is_whole() -> None:
    """Every component that is referred to is there, braces close, and the fields that are read become labels or go beside the line."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in SHIPPING)
    text = re.sub(r"//.*", "", text)
    assert text.count("{") == text.count("}")
    assert text.count("[") == text.count("]")
    there = {f"{kind}.{label}" for kind, label in re.findall(r'^([\w.]+) "(\w+)" \{', text, flags=re.MULTILINE)}
    used = set(re.findall(r"\b((?:loki|discovery|local)(?:\.\w+){2})\.(?:receiver|targets|output|rules)\b", text))
    assert used <= there
    assert {"loki.process.lines", "loki.write.loki"} <= used
    assert set(re.findall(r"^\s+(?:label|(\w+))\s+=\s+\"\w+\",$", _block(text, "stage.json"), flags=re.MULTILINE)) == {
        "timestamp", "level", "component", "analysis_id", "request_id", "trace_id",
    }  # fmt: skip
    assert set(re.findall(r"(\w+) = ", _block(text, "stage.labels").partition("values = ")[2])) == {
        "level",
        "component",
    }


def test_loki_keeps_what_is_shipped() -> None:
    config = yaml.safe_load((LOKI / "loki.yml").read_text(encoding="utf-8"))
    assert config["limits_config"]["allow_structured_metadata"] is True
    assert config["limits_config"]["max_label_names_per_series"] >= len(LABELS)
    assert config["compactor"]["retention_enabled"]  # else retention_period means nothing
    assert config["compactor"]["delete_request_store"] == config["schema_config"]["configs"][-1]["object_store"]


def _block(text: str, name: str) -> str:
    return text.partition(name)[2].partition("\n  }\n")[0]
