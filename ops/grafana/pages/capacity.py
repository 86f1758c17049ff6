"""Is there enough of everything, this week and next? Limits are those of the alerts."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard
from panels import Query, Row, lines, number, page, rows_of
from queries import MINE


def capacity() -> Dashboard:
    """The dashboard."""
    load = Row(
        "Load",
        [
            lines(
                "Media seconds per second",
                "short",
                Query(f"sum(instance:reelsift_media_seconds:rate5m{{{MINE}}})", "now"),
                Query(f"sum(instance:reelsift_media_seconds:rate5m{{{MINE}}} offset 1w)", "a week before"),
                why="How many streams in real time the servers do together",
            ),
            lines(
                "Places that are taken",
                "percentunit",
                Query(
                    f"sum(reelsift_analyses_running{{{MINE}}}) / (sum(reelsift_analyses_places{{{MINE}}}) > 0)",
                    "of all",
                ),
                limit=1,
            ),
            lines(
                "Queue",
                "short",
                Query(f"max(reelsift_analyses_queued{{{MINE}}})", "waiting"),
                limit=50,
                why="Above 50 for ten minutes: another server",
            ),
            lines(
                "Calls",
                "reqps",
                Query(f"sum(instance:reelsift_requests:rate5m{{{MINE}}})", "now"),
                Query(f"sum(instance:reelsift_requests:rate5m{{{MINE}}} offset 1w)", "a week before"),
            ),
        ],
    )
    machine = Row(
        "Machines",
        [
            lines("Cores", "percentunit", Query(f"reelsift_cpu_ratio{{{MINE}}}", "{{instance}}"), limit=0.8),
            lines(
                "Memory that is used",
                "percentunit",
                Query(f"instance:reelsift_memory_used:ratio{{{MINE}}}", "{{instance}}"),
                limit=0.9,
            ),
            lines("Memory of the service", "bytes", Query(f"reelsift_memory_bytes{{{MINE}}}", "{{instance}}")),
            lines(
                "Disks",
                "percentunit",
                Query(f"instance:reelsift_disk_used:ratio{{{MINE}}}", "{{instance}} {{place}}"),
                limit=0.8,
            ),
            lines(
                "Free room in a week, if it goes on as in this one",
                "bytes",
                Query(f"predict_linear(reelsift_disk_free_bytes{{{MINE}}}[1w], 7 * 86400)", "{{instance}} {{place}}"),
            ),
            lines(
                "Freed by retention",
                "bytes",
                Query(
                    f"sum by (kind) (increase(reelsift_cleanup_removed_bytes_total{{{MINE}}}[1d]))", "{{kind}} a day"
                ),
            ),
        ],
    )
    routine = Row(
        "Routine",
        [
            number(
                "Age of the newest backup",
                "s",
                f"max(time() - reelsift_backup_last_success_timestamp_seconds{{{MINE}}})",
                limits=(93600, 259200),
                width=8,
            ),
            number(
                "Certificates end in",
                "s",
                f"min(reelsift_certificate_expiry_timestamp_seconds{{{MINE}}} - time())",
                limits=(1814400, 259200),
                width=8,
            ),
            number(
                "Failed deliveries of alerts",
                "short",
                f'sum(increase(reelsift_notifications_total{{{MINE}, outcome="failed"}}[1d]))',
                limits=(1, 5),
                width=8,
            ),
            rows_of("What runs", f"reelsift_build_info{{{MINE}}}", width=24),
        ],
    )
    return page(
        "reelsift-capacity",
        "reelsift: capacity",
        "Is there enough of everything?",
        [load, machine, routine],
        since="now-7d",
    )
