"""A real Prometheus over the real service and its real Triton: every metric is there, and real faults call somebody."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.acceptance.answers import reelsift
from tests.acceptance.server import Server
from tests.conftest import Film
from tests.support.logql import parse
from tests.support.monitoring import (
    Prometheus,
    Webhook,
    alertmanager,
    free_port,
    prometheus,
    prometheus_tool,
    until,
    webhook,
)
from tests.support.promql import needs
from tests.support.series import FOREIGN, OPS
from tests.unit.monitoring.test_expressions import EVERYTHING

SOON = 40.0
MODEL = "labels"

GPU = {
    "reelsift_gpu_memory_used_bytes",
    "reelsift_gpu_memory_size_bytes",
    "reelsift_gpu_ratio",
    "reelsift_nvdec_ratio",
    "instance:reelsift_gpu_memory_used:ratio",
    *(name for name in FOREIGN if name.startswith("nv_gpu_")),
}
"""Of a GPU: their names and labels are checked against the registry, and Triton's documents, alone."""
AFTER_AN_EVENT = {
    "reelsift_analyses_requeued_total": "Triton or the disk was away for long, or a long analysis gave way",
    "reelsift_model_steps_total": "an operator's or a rail's step",
    "model:reelsift_automatic_rollbacks:increase1h": "a rail's step",
    "reelsift_cleanup_removed_bytes_total": "there was something to remove",
    "alertmanager_notifications_failed_total": "Alertmanager has it from its start, by integration",
}
"""Series that begin with something that does not happen here."""
OFTEN_EMPTY = {"reason", "analyzer"}  # a label without a value is none to Prometheus


@dataclass
class Plant:
    """The service under watch."""

    server: Server
    address: str
    prometheus: Prometheus
    people: Webhook

    def analyze(self, path: Path) -> None:
        done = reelsift("analyze", path, "--profile", "fast", "--fresh", "--server", self.server.address)
        assert done.returncode == 0, done.stderr
        assert reelsift("jobs", "list", "--server", self.server.address).returncode == 0  # a unary call

    def kill_the_model(self) -> None:
        assert self.server.stubs(MODEL)
        for process in self.server.stubs(MODEL):
            process.kill()

    def fires(self, alert: str) -> bool:
        return alert in self.prometheus.firing()

    def fault_is_told(self, alert: str) -> None:
        until(lambda: self.fires(alert), SOON, f"{alert} fires")
        until(lambda: alert in self.people.told("firing"), SOON, f"somebody is told of {alert}")

    def end_is_told(self, alert: str) -> None:
        until(lambda: not self.fires(alert), SOON, f"{alert} is resolved")
        until(lambda: alert in self.people.told("resolved"), SOON, f"somebody is told that {alert} is over")


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory, composite: Film) -> Iterator[Plant]:
    """With analyses that went well and one that failed behind it, and deaths of a model's processes."""
    folder = tmp_path_factory.mktemp("service")
    address, certificate = f"127.0.0.1:{free_port()}", folder / "api.pem"
    _certificate(certificate)
    (folder / "backups").mkdir()
    settings = {
        "REELSIFT_HTTP_LISTEN": address,
        "REELSIFT_CERTIFICATES": f'["{certificate}"]',
        "REELSIFT_BACKUPS": str(folder / "backups"),
        "REELSIFT_LOOK_SECONDS": "1",
    }
    with (
        webhook() as people,
        alertmanager(tmp_path_factory.mktemp("alertmanager"), people.address) as alerting,
    ):
        server = Server(settings)
        try:
            with prometheus(tmp_path_factory.mktemp("prometheus"), address, alerting, window="30s") as watching:
                made = Plant(server, address, watching, people)
                until(lambda: watching.query('up{job="reelsift"} == 1'), SOON, "the service is scraped")
                made.analyze(composite.path)
                broken = folder / "broken.mp4"
                broken.write_bytes(b"no video at all" * 100)
                assert reelsift("analyze", broken, "--server", server.address).returncode != 0
                made.kill_the_model()  # and what models count, which begins with a first request, rises with the next one
                made.analyze(composite.path)
                yield made
        finally:
            server.stop()


def test_every_metric_is_there_with_its_labels(plant: Plant) -> None:
    wanted: dict[str, frozenset[str]] = {}
    for _, text, labels in EVERYTHING:
        for metric, more in needs(text, labels).items():
            wanted[metric] = wanted.get(metric, frozenset()) | more

    def missing() -> list[str]:
        found = []
        for metric in sorted(wanted.keys() - GPU - AFTER_AN_EVENT.keys()):
            labels = "".join(f', {label}!=""' for label in sorted(wanted[metric] - OFTEN_EMPTY))
            if not plant.prometheus.series(f'{{__name__="{metric}"{labels}}}'):
                found.append(f"{metric}{{{labels[2:]}}}")
        return found

    until(lambda: not missing(), SOON, lambda: f"there are {missing()}")


def test_prometheus_has_no_fault_to_find_with_our_page(plant: Plant) -> None:
    with urllib.request.urlopen(f"http://{plant.address}/metrics", timeout=10) as page:
        text = page.read().decode()
    done = prometheus_tool("promtool").run("check", "metrics", check=False, input=text)
    assert (done.returncode, done.stderr) == (0, "")


def test_prometheus_answers_every_question(plant: Plant) -> None:
    """Rules, dashboards: none is refused, no rule fails, no page of metrics is unreadable;"""
    for _, text, _ in EVERYTHING:
        plant.prometheus.query(text)
    assert plant.prometheus.troubles() == []


def test_a_service_that_dies_is_told_of(plant: Plant) -> None:
    process = psutil.Process(plant.server.pid)
    process.suspend()  # it neither answers nor ends
    try:
        plant.fault_is_told("ReelsiftDown")
    finally:
        process.resume()
    plant.end_is_told("ReelsiftDown")


def test_a_triton_that_hangs_is_told_of(plant: Plant) -> None:
    triton = plant.server.tritonserver()
    triton.suspend()
    try:
        plant.fault_is_told("ReelsiftTritonDown")
    finally:
        if triton.is_running():
            triton.resume()
    plant.end_is_told("ReelsiftTritonDown")


def test_dying_models_are_told_of(plant: Plant, composite: Film) -> None:
    for _ in range(3):
        plant.kill_the_model()
        plant.analyze(composite.path)  # which is not harmed, and has the model loaded again
    plant.fault_is_told("ReelsiftModelProcessesDying")


def test_a_certificate_and_a_missing_backup_are_told_of(plant: Plant) -> None:
    """Two faults that are there from the start."""
    plant.fault_is_told("ReelsiftCertificateExpiresNow")
    until(lambda: plant.fires("ReelsiftBackupOld"), SOON, "there is no backup")
    backup = {"ReelsiftBackupOld", "ReelsiftComponentCritical"}  # the service's own word for it is the worse one
    until(lambda: backup & plant.people.told("firing"), SOON, "somebody is told of one of them")


def test_questions_to_the_log_find_lines_that_answer_them(plant: Plant) -> None:
    lines = [event | {"service": "reelsift"} for event in plant.server.events()]
    ended = [line for line in lines if line["event"] == "analysis.ended" and line["state"] == "FAILED"]
    saved = {each["name"]: each["query"] for each in yaml.safe_load((OPS / "loki" / "queries.yml").read_text("utf-8"))}
    asked = (
        "the story of an analysis",
        "slow calls",
        "how slow calls are",
        "alerts",
        "failures by reason",
        "what Triton went through",
    )
    for query in parse([saved[name].replace('"ID"', f'"{ended[0]["analysis_id"]}"') for name in asked]):
        found = [line for line in lines if query.finds(line)]
        assert found, f"no line answers {query.text}"
        assert len(found) < len(lines)
        assert any(query.fields <= line.keys() for line in found), f"no line has {sorted(query.fields)}"


def _certificate(path: Path) -> None:
    """One that ends tomorrow."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
