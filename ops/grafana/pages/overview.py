"""Is all well? Limits are those of the alerts."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard
from panels import Query, Row, lines, log_lines, number, page, rows_of, states
from queries import MINE, quantile, rate


def overview() -> Dashboard:
    """The dashboard."""
    well = Row(
        "Is it well?",
        [
            number("Servers up", "short", f'sum(up{{job="reelsift", {MINE}}})', limits=(1, 0.5)),
            number(
                "Triton", "short", f"min(reelsift_triton_up{{{MINE}}})", limits=(1, 0.5), why="1: every one answers"
            ),
            number(
                "Worst health", "short", f"max(reelsift_health{{{MINE}}})", limits=(1, 2), why="1 warning, 2 critical"
            ),
            number("Own alerts open", "short", f"sum(reelsift_alerts{{{MINE}}})", limits=(1, 5)),
            number("Servers that accept", "short", f"sum(reelsift_accepting{{{MINE}}})", limits=(1, 0.5)),
            number(
                "Calls that fail",
                "percentunit",
                f"max(instance:reelsift_request_errors:ratio_rate5m{{{MINE}}})",
                limits=(0.05, 0.1),
                why="with an error of ours; the worst server",
            ),
            states(
                "Components",
                Query(f"max by (instance, component) (reelsift_health{{{MINE}}})", "{{instance}} {{component}}"),
                ("healthy", "warning", "critical"),
                ("green", "orange", "red"),
                why="By each server's own checks; runbooks are named after them",
            ),
            rows_of(
                "Alerts that fire", 'ALERTS{alertname=~"Reelsift.*", alertstate="firing", severity!="none"}', width=24
            ),
        ],
    )
    calls = Row(
        "Calls",
        [
            lines("Calls", "reqps", Query(rate("reelsift_requests_total", "method", "code"), "{{method}} {{code}}")),
            lines(
                "Duration of 95 % of the unary calls",
                "s",
                Query(quantile(0.95, "reelsift_request_duration_seconds", "method"), "{{method}}", exemplars=True),
                limit=2,
            ),
            lines(
                "Calls under way",
                "short",
                Query(f"sum by (transport) (reelsift_requests_in_progress{{{MINE}}})", "{{transport}}"),
            ),
            lines("Uploads", "Bps", Query(rate("reelsift_upload_bytes_total", "instance"), "{{instance}}")),
        ],
    )
    work = Row(
        "Analyses",
        [
            lines(
                "At work, and waiting",
                "short",
                Query(f"sum(reelsift_analyses_running{{{MINE}}})", "running"),
                Query(f"sum(reelsift_analyses_places{{{MINE}}})", "places"),
                Query(f"max(reelsift_analyses_queued{{{MINE}}})", "waiting (whole store)"),
                limit=100,
            ),
            lines(
                "Ended within the hour",
                "short",
                Query(f"sum by (state) (instance:reelsift_analyses_ended:increase1h{{{MINE}}})", "{{state}}"),
            ),
        ],
    )
    logs = Row(
        "Log",
        [
            lines(
                "Warnings and errors",
                "short",
                Query(rate("reelsift_log_events_total", "level"), "{{level}} a second"),
                width=24,
            ),
            log_lines("Errors", '{service="reelsift", level=~"error|critical"} | json'),
        ],
    )
    return page(
        "reelsift-overview", "reelsift: overview", "Is all well, and since when not?", [well, calls, work, logs]
    )
