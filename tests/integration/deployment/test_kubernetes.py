"""The manifests as kustomize makes them, against Kubernetes' own schemas and against the code."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from orchestrator import __version__
from orchestrator.adapters.telemetry.metrics import Metrics
from orchestrator.cli.serve import ENDING_SECONDS
from tests.support.deployment import OPS, check_settings, environment, is_setting, port_of, stage

KUBERNETES = OPS / "kubernetes"
VERSIONS = ("1.29", "1.31", "1.33")
DOCKERFILE = OPS / "docker" / "Dockerfile"
LABELS = {"app.kubernetes.io/name": "reelsift", "app.kubernetes.io/component": "orchestrator"}

Manifest = dict[str, Any]


@pytest.fixture(scope="module", params=["cpu", "gpu"])
def manifests(request: pytest.FixtureRequest) -> dict[tuple[str, str], Manifest]:
    """By kind and name."""
    kubectl = Path(sys.executable).with_name("kubectl")
    overlay = KUBERNETES / "overlays" / request.param
    done = subprocess.run([kubectl, "kustomize", overlay], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    found = list(yaml.safe_load_all(done.stdout))
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def pod(manifests: dict[tuple[str, str], Manifest]) -> Manifest:
    spec: Manifest = manifests["StatefulSet", "orchestrator"]["spec"]["template"]["spec"]
    return spec


def service_of(manifests: dict[tuple[str, str], Manifest]) -> Manifest:
    (found,) = pod(manifests)["containers"]
    return dict(found)


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_understands_every_field(manifests: dict[tuple[str, str], Manifest], version: str) -> None:
    for (kind, _), manifest in manifests.items():
        if kind != "PodMonitor":  # not Kubernetes' own
            kubernetes_validate.validate(manifest, version, strict=True)


def test_everything_is_there(manifests: dict[tuple[str, str], Manifest]) -> None:
    kinds = {kind for kind, _ in manifests}
    assert kinds == {
        "Namespace", "ServiceAccount", "StatefulSet", "Service", "ConfigMap", "PodDisruptionBudget", "NetworkPolicy",
        "HorizontalPodAutoscaler", "PodMonitor",
    }  # fmt: skip
    assert all(
        each["metadata"].get("namespace") == "reelsift" for (kind, _), each in manifests.items() if kind != "Namespace"
    )


def test_images_are_pinned_to_this_version(manifests: dict[tuple[str, str], Manifest]) -> None:
    kind = "gpu" if "nvidia.com/gpu" in service_of(manifests)["resources"]["limits"] else "cpu"
    assert service_of(manifests)["image"] == f"reelsift:{__version__}-{kind}"
    assert [each["image"] for each in pod(manifests)["initContainers"]] == [f"reelsift-models:{__version__}"]


def test_selectors_find_the_pods(manifests: dict[tuple[str, str], Manifest]) -> None:
    template = manifests["StatefulSet", "orchestrator"]["spec"]["template"]["metadata"]["labels"]
    assert LABELS.items() <= template.items()
    selectors = [
        manifests["StatefulSet", "orchestrator"]["spec"]["selector"]["matchLabels"],
        manifests["Service", "orchestrator"]["spec"]["selector"],
        manifests["Service", "orchestrator-pods"]["spec"]["selector"],
        manifests["PodDisruptionBudget", "orchestrator"]["spec"]["selector"]["matchLabels"],
        manifests["NetworkPolicy", "orchestrator"]["spec"]["podSelector"]["matchLabels"],
        manifests["PodMonitor", "orchestrator"]["spec"]["selector"]["matchLabels"],
        *(each["labelSelector"]["matchLabels"] for each in pod(manifests)["topologySpreadConstraints"]),
    ]
    assert all(each == LABELS for each in selectors)
    target = manifests["HorizontalPodAutoscaler", "orchestrator"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) in manifests
    assert ("Service", manifests["StatefulSet", "orchestrator"]["spec"]["serviceName"]) in manifests


def test_ports_and_probes_are_the_codes(manifests: dict[tuple[str, str], Manifest]) -> None:
    from orchestrator.api.http.routes import PROBES

    container = service_of(manifests)
    made = environment(stage(DOCKERFILE, container["image"].rpartition("-")[2]))
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports == {"grpc": port_of(made["REELSIFT_LISTEN"]), "http": port_of(made["REELSIFT_HTTP_LISTEN"])}
    for name in ("orchestrator", "orchestrator-pods"):
        served = {each["name"]: each["port"] for each in manifests["Service", name]["spec"]["ports"]}
        assert served == ports
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        request = container[probe]["httpGet"]
        assert request["path"] in PROBES
        assert request["port"] in ports
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"  # a database that is away is no reason to kill
    scraped = manifests["PodMonitor", "orchestrator"]["spec"]["podMetricsEndpoints"]
    assert all(endpoint["port"] in ports and endpoint["path"] in PROBES for endpoint in scraped)
    configs = yaml.safe_load((OPS / "prometheus" / "dns.yml").read_text())["scrape_configs"]
    elsewhere = {each.get("metrics_path", "/metrics") for each in configs if "orchestrator" in str(each)}
    assert {endpoint["path"] for endpoint in scraped} == elsewhere  # as Compose's Prometheus does


def test_it_may_drain(manifests: dict[tuple[str, str], Manifest]) -> None:
    settings = check_settings(tomllib.loads(_config(manifests)["reelsift.toml"]))
    (_, pause) = service_of(manifests)["lifecycle"]["preStop"]["exec"]["command"]
    needed = int(pause) + settings.drain_seconds + ENDING_SECONDS
    assert pod(manifests)["terminationGracePeriodSeconds"] >= needed


def test_settings_and_places(manifests: dict[tuple[str, str], Manifest]) -> None:
    container = service_of(manifests)
    named = [each["name"] for each in container["env"] if each["name"].startswith("REELSIFT_")]
    assert all(is_setting(name) for name in named)
    made = environment(stage(DOCKERFILE, container["image"].rpartition("-")[2]))
    mounted = {each["mountPath"] for each in container["volumeMounts"]}
    assert {made["REELSIFT_DATA_DIR"], made["REELSIFT_MODEL_REPOSITORY"], "/run/secrets", "/dev/shm", "/tmp"} <= mounted
    config = next(each["value"] for each in container["env"] if each["name"] == "REELSIFT_CONFIG")
    assert str(Path(config).parent) in mounted
    claims = {
        each["metadata"]["name"] for each in manifests["StatefulSet", "orchestrator"]["spec"]["volumeClaimTemplates"]
    }
    volumes = claims | {each["name"] for each in pod(manifests)["volumes"]}
    for each in [container, *pod(manifests)["initContainers"]]:
        assert {mount["name"] for mount in each["volumeMounts"]} <= volumes
        assert each["securityContext"]["readOnlyRootFilesystem"]
        assert not each["securityContext"]["allowPrivilegeEscalation"]
        assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= set(each["resources"]["requests"])
        assert "memory" in each["resources"]["limits"]
    user = next(rest for word, rest in stage(DOCKERFILE, "cpu") if word == "USER")
    context = pod(manifests)["securityContext"]
    assert user == f"{context['runAsUser']}:{context['runAsGroup']}"


def test_autoscaling_asks_for_metrics_that_exist(manifests: dict[tuple[str, str], Manifest]) -> None:
    exported = {family.name for family in Metrics().registry.collect()}
    asked = set()
    for each in manifests["HorizontalPodAutoscaler", "orchestrator"]["spec"]["metrics"]:
        (metric,) = (each[kind]["metric"]["name"] for kind in ("external", "pods") if kind in each)
        asked.add((each["type"], metric))
        assert metric in exported
    assert ("External", "reelsift_analyses_queued") in asked
    rules = yaml.safe_load((KUBERNETES / "adapter.yaml").read_text())["rules"]
    adapted = {(kind, rule["name"]["as"]) for kind in ("external", "custom") for rule in rules[kind]}
    assert asked <= {({"external": "External", "custom": "Pods"}[kind], name) for kind, name in adapted}
    for kind in ("external", "custom"):
        for rule in rules[kind]:
            assert rule["seriesQuery"].partition("{")[0] in exported


def test_places_at_work_are_what_the_autoscaler_counts(manifests: dict[tuple[str, str], Manifest]) -> None:
    settings = check_settings(tomllib.loads(_config(manifests)["reelsift.toml"]))
    (running,) = (
        each["pods"]["target"]["averageValue"]
        for each in manifests["HorizontalPodAutoscaler", "orchestrator"]["spec"]["metrics"]
        if each["type"] == "Pods" and each["pods"]["metric"]["name"] == "reelsift_analyses_running"
    )
    assert int(running.removesuffix("m")) == 800 * settings.max_running


def _config(manifests: dict[tuple[str, str], Manifest]) -> dict[str, str]:
    (found,) = (each["data"] for (kind, _), each in manifests.items() if kind == "ConfigMap")
    return dict(found)
