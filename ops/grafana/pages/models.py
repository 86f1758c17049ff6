"""Which models answer, how fast, in which batches? Limits are those of the alerts."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard
from panels import Query, Row, lines, page, states
from queries import MINE, quantile, rate


def models() -> Dashboard:
    """The dashboard."""
    ready = Row(
        "Ready?",
        [
            states(
                "Versions",
                Query(
                    f"min by (instance, model, version) (reelsift_model_ready{{{MINE}}})",
                    "{{instance}} {{model}} {{version}}",
                ),
                ("not ready", "ready"),
                ("red", "green"),
            ),
            lines(
                "Deaths of model processes",
                "short",
                Query(f"model:reelsift_model_process_deaths:increase15m{{{MINE}}}", "{{model}}"),
            ),
            lines(
                "Starts of Triton",
                "short",
                Query(f"increase(reelsift_triton_restarts_total{{{MINE}}}[30m])", "{{instance}}"),
            ),
        ],
    )
    seen = Row(
        "As the service sees them",
        [
            lines("Requests", "reqps", Query(rate("reelsift_inference_requests_total", "model"), "{{model}}")),
            lines(
                "Time to answer, 95 %",
                "s",
                Query(quantile(0.95, "reelsift_inference_duration_seconds", "model"), "{{model}}"),
            ),
            lines(
                "Lost or refused",
                "percentunit",
                Query(f"model:reelsift_inference_failures:ratio_rate5m{{{MINE}}}", "{{model}}"),
                limit=0.05,
            ),
            lines(
                "Steps of rollouts within the hour",
                "short",
                Query(
                    f"sum by (model, action, automatic) (increase(reelsift_model_steps_total{{{MINE}}}[1h]))",
                    "{{model}} {{action}} (automatic: {{automatic}})",
                ),
            ),
        ],
    )
    triton = Row(
        "As Triton sees them",
        [
            lines("Pictures", "short", Query(rate("nv_inference_count", "model"), "{{model}} a second")),
            lines(
                "Batches that are really made",
                "short",
                Query(f"model:nv_inference_batch:mean_rate5m{{{MINE}}}", "{{model}}"),
            ),
            lines(
                "Wait of a request",
                "s",
                Query(f"model:nv_inference_queue_seconds:mean_rate5m{{{MINE}}}", "{{model}}"),
                limit=1,
            ),
            lines(
                "Computing, per picture",
                "µs",
                Query(
                    f"{rate('nv_inference_compute_infer_duration_us', 'model')} / {rate('nv_inference_count', 'model')}",
                    "{{model}}",
                ),
            ),
            lines(
                "Requests that wait",
                "short",
                Query(f"sum by (model) (nv_inference_pending_request_count{{{MINE}}})", "{{model}}"),
            ),
            lines(
                "Failures",
                "reqps",
                Query(rate("nv_inference_request_failure", "model", "reason"), "{{model}} {{reason}}"),
            ),
        ],
    )
    return page(
        "reelsift-models", "reelsift: models", "Which models answer, how fast, in which batches.", [ready, seen, triton]
    )
