"""The metrics that rules and dashboards may use, with the labels of each: ours by the registry, the others by their documents."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.metrics import MetricWrapperBase

from orchestrator.adapters.telemetry.metrics import Metrics
from tests.support.promql import ALL, produces

OPS = Path(__file__).resolve().parents[2] / "ops"
RULES = sorted((OPS / "prometheus" / "rules").glob("*.yml"))

_MODEL = ALL | {"model", "version"}
_GPU = ALL | {"gpu_uuid"}
FOREIGN: dict[str, frozenset[str]] = {
    # Prometheus' own, and those of any process
    "up": ALL,
    "ALERTS": ALL | {"alertname", "alertstate", "severity", "priority", "kind"},
    "process_start_time_seconds": ALL,
    "prometheus_notifications_alertmanagers_discovered": ALL,
    "alertmanager_notifications_failed_total": ALL | {"integration"},
    # Triton 2.51
    "nv_inference_count": _MODEL,
    "nv_inference_exec_count": _MODEL,
    "nv_inference_request_success": _MODEL,
    "nv_inference_request_failure": _MODEL | {"reason"},
    "nv_inference_queue_duration_us": _MODEL,
    "nv_inference_compute_infer_duration_us": _MODEL,
    "nv_inference_pending_request_count": _MODEL,
    # Triton with a GPU: docs/user_guide/metrics.md of triton-inference-server/server
    "nv_gpu_memory_used_bytes": _GPU,
    "nv_gpu_memory_total_bytes": _GPU,
    "nv_gpu_power_usage": _GPU,
    "nv_gpu_utilization": _GPU,
}


def groups() -> Iterator[dict[str, Any]]:
    """Every group of rules, in the order in which they build on each other."""
    for path in sorted(RULES, key=lambda path: path.stem != "recording"):
        yield from yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]


def alerts() -> dict[str, dict[str, Any]]:
    """The alert rules by name."""
    return {rule["alert"]: rule for group in groups() for rule in group["rules"] if "alert" in rule}


def recorded() -> dict[str, str]:
    """The expressions of the recording rules by name."""
    return {rule["record"]: rule["expr"] for group in groups() for rule in group["rules"] if "record" in rule}


def ours() -> dict[str, frozenset[str]]:
    """The series of the service's own registry."""
    found: dict[str, frozenset[str]] = {}
    for name, collector in Metrics().registry._names_to_collectors.items():
        if isinstance(collector, MetricWrapperBase):
            more = {"le"} if name.endswith("_bucket") else set()
            found[name] = ALL | frozenset(collector._labelnames) | more
    return found


@cache
def known() -> dict[str, frozenset[str]]:
    """All of them, and what recording rules make of them."""
    found = FOREIGN | ours()
    for name, expression in recorded().items():
        found[name] = produces(expression, found)
    return found
