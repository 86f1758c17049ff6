"""The dashboards: generated, whole, and found by Grafana's provisioning. Their queries are in test_expressions.py."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import yaml

from tests.support.series import OPS

GRAFANA = OPS / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))


def test_committed_dashboards_are_those_of_the_generator() -> None:
    done = subprocess.run(
        [sys.executable, GRAFANA / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stderr}\nrun python ops/grafana/generate.py"
    assert {path.stem for path in DASHBOARDS} == {"overview", "pipeline", "models", "decoding", "capacity"}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_one_that_grafana_reads(path: Path) -> None:
    """Through the SDK's reader, which is made of Grafana's schemas; and no panel lies on another."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the classic form is read by every Grafana
        from grafana_foundation_sdk.cog.plugins import register_default_plugins
        from grafana_foundation_sdk.models.dashboard import Dashboard
    register_default_plugins()
    page = Dashboard.from_json(json.loads(path.read_text(encoding="utf-8")))
    assert page.uid == f"reelsift-{path.stem}"
    panels = page.panels or []
    assert [panel.id_val for panel in panels] == list(range(1, len(panels) + 1))
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        grid = panel.grid_pos
        assert grid is not None
        assert grid.x + grid.w <= 24
        cells = {(x, y) for x in range(grid.x, grid.x + grid.w) for y in range(grid.y, grid.y + grid.h)}
        assert not cells & taken, f"{panel.title} lies on another panel"
        taken |= cells


def test_every_data_source_is_provisioned() -> None:
    sources = yaml.safe_load((GRAFANA / "provisioning/datasources/reelsift.yml").read_text(encoding="utf-8"))
    kinds = {source["type"] for source in sources["datasources"]}
    for path in DASHBOARDS:
        page = json.loads(path.read_text(encoding="utf-8"))
        variables = {each["name"]: each for each in page["templating"]["list"]}
        for panel in page["panels"]:
            for target in panel.get("targets", []):
                kind, uid = target["datasource"]["type"], target["datasource"]["uid"]
                assert kind in kinds
                assert variables[uid.strip("${}")]["query"] == kind
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/reelsift.yml").read_text(encoding="utf-8"))[
        "providers"
    ]
    assert provider["options"]["path"] == "/etc/grafana/dashboards"
