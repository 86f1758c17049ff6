"""Every alert, from the metric to whoever is called, through a real Prometheus and a real Alertmanager: it fires, and it is resolved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.monitoring.faults import Stand, running, served
from tests.support.monitoring import TOKEN, Prometheus, Webhook, alertmanager, free_port, prometheus, until, webhook
from tests.support.series import alerts

SOON = 40.0
ELSEWHERE = {"ReelsiftNowhere", "ReelsiftAlertmanagerUnreachable", "ReelsiftAlertmanagerFailing"}
"""Faults of the monitoring, which cannot be there together with the others."""
INHIBITED = {
    "ReelsiftDiskFilling": "uploads",  # its disk is full
    "ReelsiftMemoryLow": "",
    "ReelsiftModelNotReady": "",  # Triton is down
    "ReelsiftSlowRequests": "",
    "ReelsiftComponentCritical": "database",  # ReelsiftDatabaseDown says so
}


@dataclass
class Plant:
    """All of it, under watch."""

    stand: Stand
    prometheus: Prometheus
    people: Webhook
    folder: Path
    dead: int  # the port of a third server, which is gone

    def firing(self) -> set[str]:
        return set(self.prometheus.firing())

    def targets(self, name: str, text: str) -> str:
        path = self.folder / "targets" / f"{name}.yml"
        before = path.read_text()
        path.write_text(text)
        return before


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    folder, stand, dead = tmp_path_factory.mktemp("prometheus"), Stand(), free_port()
    with (
        webhook() as people,
        alertmanager(tmp_path_factory.mktemp("alertmanager"), people.address) as alerting,
        running(stand) as (a, b),
        prometheus(folder, a, alerting) as watching,
    ):
        made = Plant(stand, watching, people, folder, dead)
        made.targets("reelsift", f'- targets: ["{a}", "{b}", "127.0.0.1:{dead}"]')
        yield made


def test_every_alert_fires_is_delivered_and_is_resolved(plant: Plant) -> None:
    wanted = set(alerts()) - ELSEWHERE
    until(lambda: wanted <= plant.firing(), SOON, f"these fire: {wanted - plant.firing()}")
    told = wanted - set(INHIBITED) - {"ReelsiftComponentWarning"}
    until(lambda: all(plant.people.told(name, "firing") for name in told), SOON, "all of these are delivered")
    assert plant.people.told("ReelsiftDatabaseDown", "firing", "/now")
    assert plant.people.told("ReelsiftBackupOld", "firing", "/today")
    assert plant.people.told("ReelsiftCpuBusy", "firing", "/this-week")
    assert plant.people.told("ReelsiftWatched", "firing", "/heartbeat")
    assert plant.people.tokens == {f"Bearer {TOKEN}"}

    plant.stand.broken = False
    with served({"/metrics": plant.stand.b.registry}, plant.dead):
        until(lambda: plant.firing() == {"ReelsiftWatched"}, SOON, f"these are resolved: {plant.firing()}")
        loud = {name for name in told if alerts()[name]["labels"]["severity"] in ("critical", "warning")}
        until(
            lambda: all(plant.people.told(name, "resolved") for name in loud), SOON, "so they say to whom they called"
        )


def test_the_worse_word_is_enough(plant: Plant) -> None:
    """After the first test: what was there all the time and told to nobody, because its cause was."""
    for name, what in INHIBITED.items():
        for _, notice in plant.people.notices:
            for each in notice["alerts"]:
                place = each["labels"].get("place", each["labels"].get("component", ""))
                assert (each["labels"]["alertname"], place) != (name, what), each


def test_the_watchers_are_watched(plant: Plant) -> None:
    plant.stand.broken = False
    before = plant.targets("reelsift", "[]")
    until(lambda: "ReelsiftNowhere" in plant.firing(), SOON, "nothing is discovered")
    plant.targets("reelsift", before)
    until(lambda: "ReelsiftNowhere" not in plant.firing(), SOON, "it is again")

    before = plant.targets("alertmanager", "[]")
    until(lambda: "ReelsiftAlertmanagerUnreachable" in plant.firing(), SOON, "there is no Alertmanager")
    plant.targets("alertmanager", before)
    until(lambda: "ReelsiftAlertmanagerUnreachable" not in plant.firing(), SOON, "there is one again")

    plant.people.refuses = True
    until(lambda: "ReelsiftAlertmanagerFailing" in plant.firing(), SOON, "nobody takes notices")
    plant.people.refuses = False
    until(lambda: "ReelsiftAlertmanagerFailing" not in plant.firing(), SOON, "somebody does again")
