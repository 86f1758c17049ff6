"""Where do analyses spend their time, and what becomes of their frames? Limits are those of the alerts."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard
from panels import Query, Row, lines, page
from queries import MINE, RATE, quantile, rate


def pipeline() -> Dashboard:
    """The dashboard."""
    time = Row(
        "Time",
        [
            lines(
                "Duration of an analysis",
                "s",
                Query(quantile(0.5, "reelsift_analysis_duration_seconds"), "half"),
                Query(quantile(0.95, "reelsift_analysis_duration_seconds"), "95 %", exemplars=True),
                limit=300,
            ),
            lines(
                "Realtime factor",
                "short",
                Query(quantile(0.5, "reelsift_analysis_realtime_factor"), "half"),
                Query(quantile(0.95, "reelsift_analysis_realtime_factor"), "95 %"),
                Query(
                    f"max(instance:reelsift_analysis_realtime_factor:mean1h{{{MINE}}})",
                    "mean of the hour, worst server",
                ),
                why="Processing seconds per second of media",
                limit=3,
            ),
            lines(
                "Seconds by stage, per second of media",
                "s",
                Query(
                    f"{rate('reelsift_stage_seconds_total', 'stage')}"
                    f" / ignoring (stage) group_left sum(rate(reelsift_media_seconds_total{{{MINE}}}{RATE}))",
                    "{{stage}}",
                ),
                why="Stages overlap: they may add up to more than the realtime factor",
            ),
            lines(
                "Inference by analyzer, per second of media",
                "s",
                Query(
                    f'sum by (analyzer) (rate(reelsift_stage_seconds_total{{{MINE}, stage="infer"}}{RATE}))'
                    f" / ignoring (analyzer) group_left sum(rate(reelsift_media_seconds_total{{{MINE}}}{RATE}))",
                    "{{analyzer}}",
                ),
            ),
            lines(
                "Commits of segments",
                "s",
                Query(quantile(0.95, "reelsift_store_commit_seconds", "instance"), "95 % {{instance}}"),
            ),
            lines(
                "Longest wait in the queue",
                "s",
                Query(f"max(reelsift_analyses_oldest_queued_seconds{{{MINE}}})", "oldest"),
            ),
            lines(
                "Longest standstill of a running analysis",
                "s",
                Query(f"max by (instance) (reelsift_analyses_longest_idle_seconds{{{MINE}}})", "{{instance}}"),
                limit=1800,
                width=24,
            ),
        ],
    )
    results = Row(
        "What comes of it",
        [
            lines(
                "Media",
                "short",
                Query(rate("reelsift_media_seconds_total", "instance"), "seconds per second {{instance}}"),
            ),
            lines("Segments", "short", Query(rate("reelsift_segments_total", "instance"), "a second {{instance}}")),
            lines(
                "Created and ended",
                "short",
                Query(rate("reelsift_analyses_created_total", "job"), "created a second"),
                Query(rate("reelsift_analyses_ended_total", "state"), "{{state}} a second"),
            ),
            lines(
                "Failures within the hour",
                "short",
                Query(
                    f'sum by (reason) (increase(reelsift_analyses_ended_total{{{MINE}, state=~"failed|quarantined"}}[1h]))',
                    "{{reason}}",
                ),
                Query(
                    f"sum by (reason) (increase(reelsift_analyses_requeued_total{{{MINE}}}[1h]))", "again: {{reason}}"
                ),
            ),
        ],
    )
    frames = Row(
        "Frames",
        [
            lines("Frames", "short", Query(rate("reelsift_frames_total", "outcome"), "{{outcome}} a second")),
            lines(
                "Lost within the hour",
                "short",
                Query(
                    f'sum by (outcome) (instance:reelsift_frames:increase1h{{{MINE}, outcome=~"dropped|corrupt"}})',
                    "{{outcome}}",
                ),
            ),
            lines(
                "Frames that analyzers look at",
                "short",
                Query(rate("reelsift_frames_analyzed_total", "analyzer"), "{{analyzer}}"),
            ),
            lines(
                "Near-duplicates among them",
                "percentunit",
                Query(
                    f"{rate('reelsift_frames_reused_total', 'analyzer')} / {rate('reelsift_frames_analyzed_total', 'analyzer')}",
                    "{{analyzer}}",
                ),
            ),
        ],
    )
    return page("reelsift-pipeline", "reelsift: pipeline", "Where analyses spend their time.", [time, results, frames])
