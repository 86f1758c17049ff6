"""Who hears of what, by Alertmanager's own tool."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.support.monitoring import alertmanager_tool
from tests.support.series import OPS, alerts

CONFIG = OPS / "alertmanager" / "alertmanager.yml"
RECEIVERS = {"critical": "now", "warning": "today", "info": "this-week", "none": "heartbeat"}


def test_alertmanager_takes_the_configuration() -> None:
    done = alertmanager_tool("amtool").run("check-config", CONFIG)
    assert "4 receivers" in done.stdout


@pytest.mark.parametrize("name", alerts())
def test_an_alert_reaches_its_receiver(name: str) -> None:
    labels = {"alertname": name, "job": "reelsift", "instance": "a:8080"} | alerts()[name]["labels"]
    words = [f"{label}={value}" for label, value in labels.items()]
    receiver = RECEIVERS[labels["severity"]]
    alertmanager_tool("amtool").run(
        "config", "routes", "test", f"--config.file={CONFIG}", f"--verify.receivers={receiver}", *words
    )


def test_no_secret_is_in_the_file() -> None:
    text = CONFIG.read_text(encoding="utf-8")
    assert not re.search(r"(password|secret|api_key|token|credentials):", text)
    assert (
        yaml.safe_load(text)["global"]["http_config"]["authorization"]["credentials_file"]
        == "credentials/webhook_token"
    )
