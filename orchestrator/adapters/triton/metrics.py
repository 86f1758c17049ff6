"""The few numbers of Triton's Prometheus page that say what a model has done."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True, slots=True)
class ModelMetrics:
    """Since the server's start. ``inferences`` counts rows, ``executions`` runs of the model: their ratio is the
    real batch.
    """

    inferences: int = 0
    executions: int = 0
    successes: int = 0
    failures: int = 0


_FIELDS = {
    "nv_inference_count": "inferences",
    "nv_inference_exec_count": "executions",
    "nv_inference_request_success": "successes",
    "nv_inference_request_failure": "failures",
}


def parse(page: str) -> dict[str, ModelMetrics]:
    """Totals by model, over its versions and reasons of failure."""
    totals: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if (name := _FIELDS.get(sample.name.removesuffix("_total"))) and "model" in sample.labels:
                totals[sample.labels["model"]][name] += int(sample.value)
    return {model: ModelMetrics(**numbers) for model, numbers in totals.items()}
