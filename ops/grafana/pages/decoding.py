"""What decodes, and what do the GPUs do? Limits are those of the alerts."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard
from panels import Query, Row, lines, page
from queries import MINE, RATE


def decoding() -> Dashboard:
    """The dashboard."""
    gpu = Row(
        "GPU",
        [
            lines("Cores", "percentunit", Query(f"reelsift_gpu_ratio{{{MINE}}}", "{{instance}} GPU {{gpu}}")),
            lines(
                "Decoders (NVDEC)", "percentunit", Query(f"reelsift_nvdec_ratio{{{MINE}}}", "{{instance}} GPU {{gpu}}")
            ),
            lines(
                "Memory",
                "percentunit",
                Query(f"instance:reelsift_gpu_memory_used:ratio{{{MINE}}}", "{{instance}} GPU {{gpu}}"),
                limit=0.9,
            ),
            lines(
                "Memory in bytes",
                "bytes",
                Query(f"reelsift_gpu_memory_used_bytes{{{MINE}}}", "{{instance}} GPU {{gpu}}"),
                Query("nv_gpu_memory_used_bytes", "Triton {{instance}} {{gpu_uuid}}"),
            ),
            lines("Power", "watt", Query("nv_gpu_power_usage", "Triton {{instance}} {{gpu_uuid}}")),
            lines(
                "Cores, as Triton sees them",
                "percentunit",
                Query("nv_gpu_utilization", "Triton {{instance}} {{gpu_uuid}}"),
            ),
        ],
    )
    decoders = Row(
        "Decoders",
        [
            lines("At work", "short", Query(f"sum by (instance) (reelsift_decoders{{{MINE}}})", "{{instance}}")),
            lines(
                "Crashes within ten minutes",
                "short",
                Query(f"increase(reelsift_decoder_crashes_total{{{MINE}}}[10m])", "{{instance}}"),
                limit=5,
            ),
            lines(
                "Free share of the frame arena",
                "percentunit",
                Query(f"reelsift_arena_free_ratio{{{MINE}}}", "{{instance}}"),
                why="0: decoders wait for the models",
            ),
            lines(
                "Decoding, per second of media",
                "s",
                Query(
                    f'sum by (instance) (rate(reelsift_stage_seconds_total{{{MINE}, stage="decode"}}{RATE}))'
                    f" / sum by (instance) (rate(reelsift_media_seconds_total{{{MINE}}}{RATE}))",
                    "{{instance}}",
                ),
            ),
        ],
    )
    return page(
        "reelsift-decoding", "reelsift: GPU and decoders", "What decodes, and what the GPUs do.", [gpu, decoders]
    )
