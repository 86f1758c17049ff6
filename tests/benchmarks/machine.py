"""What the numbers were measured on and with."""

from __future__ import annotations

import datetime
import platform
import statistics
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import av

from orchestrator.adapters.triton.distribution import TRITON_VERSION, WHEEL
from tests.benchmarks.service import cores

PACKAGES = ("av", "onnxruntime", "numpy", "grpcio", "tritonclient", "litserve", "ray")


def facts(rounds: int, seconds: float, load: float, others: Sequence[float]) -> dict[str, str]:
    """Lines for the head of the page. ``load``: the load average before; ``others``: cores that other processes took, per run."""
    return {
        "Measured": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {rounds} round{'s' * (rounds > 1)}, runs of {seconds:g} s or more",
        "Machine": f"{cores()} cores of {_processor()}, {platform.system()} {platform.release()}",
        "Versions": f"Python {platform.python_version()}, Triton {TRITON_VERSION}, "
        + ", ".join(f"{package} {_version(package)}" for package in PACKAGES)
        + f", {WHEEL.replace('==', ' ')}, libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))}",
        "Other processes took": f"{statistics.median(others):.2f} cores (median over runs), {max(others):.2f} at most"
        if others
        else "not recorded",
        "Load before": f"{load:.2f}",
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
