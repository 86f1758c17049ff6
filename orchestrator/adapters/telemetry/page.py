"""``ops/metrics.md``, made of the registry.

python -m orchestrator.adapters.telemetry.page > ops/metrics.md
"""

from __future__ import annotations

import sys

from orchestrator.adapters.telemetry.metrics import Described, Metrics

HEAD = """# Metrics

`GET /metrics` of the HTTP server answers as Prometheus' text, or as OpenMetrics where the request's `Accept` asks for it: then requests
and analyses that are traced have exemplars (`trace_id`). This page is made of the registry, by
`python -m orchestrator.adapters.telemetry.page`.

- Counters begin anew with the process; `rate()` and `increase()` know that. What a look at the machine or the store sets (disk, memory,
  CPU, GPU, queue, health, alerts, certificates, clock, backups) is as old as the last look: at most the setting `look_seconds`.
- The store is shared by the servers of a database, these numbers are not: sum over `instance`. Only `reelsift_analyses_queued` and
  `reelsift_analyses_oldest_queued_seconds` are the same everywhere.
- Labels have few values, all of them ours: methods that exist, reasons of the error tree, models and analyzers that are here.
  Nothing that a client sends becomes a label; an unknown path is the method `unknown`.
- Beside these there are `process_*` and `python_gc_*` of the orchestrator's own process (decoders and Triton have processes of their
  own: `reelsift_cpu_ratio` and `reelsift_memory_bytes` have all of them in), and Triton's own metrics at its port.

| metric | type | labels | meaning |
|---|---|---|---|
"""
LABELS = {
    "`transport`": "`grpc`, `http`",
    "`method`": "names of RPCs (`GetAnalysis`, `Check` of the health service...) and of HTTP operations, as in `/api/v1/openapi.json`",
    "`code`": "of gRPC: `OK`, `NOT_FOUND`, `RESOURCE_EXHAUSTED`...; over HTTP the code that the same error has there",
    "`state`": "`succeeded`, `failed`, `cancelled`, `quarantined`",
    "`reason`": "stable reasons of the error tree (`MEDIA_UNREADABLE`...), empty for success; of requeued attempts also `YIELD`, `DRAIN`",
    "`stage`": "`open`, `fetch`, `decode`, `infer`, `segment`, `store`",
    "`analyzer`": "names of analyzers; empty where a stage is nobody's",
    "`outcome`": "of frames `decoded`, `corrupt`, `dropped`, `skipped`, `redecoded`; of inferences `answered`, `lost`, `refused`; "
    "of the news of alerts `delivered`, `failed`",
    "`model`, `version`": "of the model repository",
    "`action`, `automatic`": "`stage`, `shadow`, `canary`, `promote`, `rollback`, `retire`; `true` for the service's own",
    "`component`": "as in `reelsift health`: `KIND` or `KIND/NAME`",
    "`level`": "of alerts `warning`, `critical`; of log lines also `error`",
    "`kind`": "of what retention removes: `uploads`, `thumbnails`, `reports`, `analyses`",
    "`place`, `gpu`, `name`": "`data`, `uploads`; the GPU's number; the certificate's name",
}


def page() -> str:
    """The whole page."""
    described = Metrics().described
    rows = "".join(_row(each) for each in described)
    buckets = "".join(
        f"- `{each.name}`: {', '.join(f'{bound:g}' for bound in each.buckets)}\n" for each in described if each.buckets
    )
    labels = "".join(f"| {label} | {values} |\n" for label, values in LABELS.items())
    return f"{HEAD}{rows}\n## Labels\n\n| label | values |\n|---|---|\n{labels}\n## Buckets\n\n{buckets}"


def _row(each: Described) -> str:
    labels = ", ".join(f"`{label}`" for label in each.labels)
    return f"| `{each.name}` | {each.kind} | {labels} | {each.text} |\n"


if __name__ == "__main__":
    sys.stdout.write(page())
