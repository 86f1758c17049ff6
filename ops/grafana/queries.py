"""PromQL that dashboards have in common."""

from __future__ import annotations

MINE = 'instance=~"$instance"'
"""The servers that were chosen."""
RATE = "[$__rate_interval]"


def rate(metric: str, *by: str) -> str:
    """By how much a counter of the chosen servers goes up in a second, summed ``by`` these labels."""
    return f"sum by ({', '.join(by)}) (rate({metric}{{{MINE}}}{RATE}))"


def quantile(share: float, metric: str, *by: str) -> str:
    """What a ``share`` of the observations of a histogram stays below."""
    return f"histogram_quantile({share}, sum by ({', '.join(('le', *by))}) (rate({metric}_bucket{{{MINE}}}{RATE})))"
