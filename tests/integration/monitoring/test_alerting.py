"""Every alert, from the metric to whoever is called, through a real Prometheus and a real Alertmanager: it fires, and it is resolved."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.monitoring.faults import Stand, running, served
from tests.support.monitoring import TOKEN, Prometheus, Webhook, alertmanager, free_port, prometheus, until, webhook
from tests.support.series import alerts

SOON = 40.0
ELSEWHERE = {"ReelsiftNowhere", "ReelsiftAlertmanagerUnreachable", "ReelsiftAlertmanagerFailing", "ReelsiftTritonDown"}
"""Not there together with the others: faults of the monitoring, and one that silences many."""
OVERRULED = {
    "ReelsiftErrorRateHigh": "ReelsiftErrorRateVeryHigh",
    "ReelsiftAnalysesFailing": "ReelsiftMostAnalysesFail",
    "ReelsiftQueueGrowing": "ReelsiftQueueBacklog",
    "ReelsiftQueueOld": "ReelsiftQueueBacklog",
    "ReelsiftAnalysisStuck": "ReelsiftAnalysisStuckForLong",
    "ReelsiftMemoryLow": "ReelsiftMemoryOut",
    "ReelsiftMemoryGrowing": "ReelsiftMemoryOut",
    "ReelsiftGpuMemoryHigh": "ReelsiftGpuMemoryFull",
    "ReelsiftCertificateExpires": "ReelsiftCertificateExpiresNow",
    "ReelsiftModelProcessesDying": "ReelsiftModelNotReady",
    "ReelsiftModelRequestsFailing": "ReelsiftModelNotReady",
    "ReelsiftComponentCritical": "ReelsiftDatabaseDown and others",
}
"""Fire, and are told to nobody, because the other one says more about the same thing."""


RECEIVERS = {"critical": "/now", "warning": "/today", "info": "/this-week", "none": "/heartbeat"}


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


def test_every_alert_fires_is_told_and_is_resolved(plant: Plant) -> None:
    wanted = set(alerts()) - ELSEWHERE
    until(lambda: wanted <= plant.firing(), SOON, lambda: f"these fire: {wanted - plant.firing()}")
    told = wanted - OVERRULED.keys()
    until(lambda: told <= plant.people.told("firing"), SOON, lambda: f"told: {told - plant.people.told('firing')}")
    assert plant.people.told("firing") == told
    for name in told:
        assert name in plant.people.told("firing", RECEIVERS[alerts()[name]["labels"]["severity"]])
    assert plant.people.tokens == {f"Bearer {TOKEN}"}

    plant.stand.broken = False
    with served({"/metrics": plant.stand.b.registry}, plant.dead):
        until(lambda: plant.firing() == {"ReelsiftWatched"}, SOON, lambda: f"these are over: {plant.firing()}")
        loud = {name for name in told if alerts()[name]["labels"]["severity"] in ("critical", "warning")}
        until(lambda: loud <= plant.people.told("resolved"), SOON, "whoever was called hears of the end")


def test_what_comes_of_another_fault_is_not_told(plant: Plant) -> None:
    plant.stand.broken = False
    until(lambda: "ReelsiftTritonRestarting" not in plant.firing(), SOON, "the first faults are over")
    plant.people.notices.clear()
    plant.stand.without_triton = True
    consequences = {"ReelsiftModelNotReady", "ReelsiftErrorRateVeryHigh", "ReelsiftSlowRequests"}
    until(lambda: "ReelsiftTritonDown" in plant.people.told("firing", "/now"), SOON, "the cause is told")
    plant.stand.consequences = True
    until(lambda: consequences <= plant.firing(), SOON, "all fire")
    time.sleep(3)  # a notice of the others would have come
    assert not consequences & plant.people.told("firing")
    plant.stand.consequences = False
    until(lambda: not consequences & plant.firing(), SOON, "they are over")
    plant.stand.without_triton = False
    until(lambda: "ReelsiftTritonDown" in plant.people.told("resolved"), SOON, "and so is its end")


def test_the_watchers_are_watched(plant: Plant) -> None:
    plant.stand.broken, plant.stand.without_triton = False, True
    plant.people.refuses = True
    until(lambda: "ReelsiftAlertmanagerFailing" in plant.firing(), SOON, "a notice is refused")
    plant.people.refuses = False
    until(lambda: "ReelsiftAlertmanagerFailing" not in plant.firing(), SOON, "it is taken")

    blind = {"ReelsiftNowhere", "ReelsiftAlertmanagerUnreachable"}
    before = {name: plant.targets(name, "[]") for name in ("reelsift", "alertmanager")}
    until(lambda: blind <= plant.firing(), SOON, "nothing is discovered")
    for name, text in before.items():
        plant.targets(name, text)
    until(lambda: not blind & plant.firing(), SOON, "all is again")
