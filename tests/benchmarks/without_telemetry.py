"""The service deaf and dumb: what ``telemetry.py`` compares with. It counts nothing, logs nothing and traces nothing.

python -m tests.benchmarks.without_telemetry serve ...      # as ``reelsift serve``
"""

from __future__ import annotations

import logging

import structlog

import orchestrator.app
from orchestrator import logs
from orchestrator.cli.main import main
from orchestrator.core.recent import Recent
from orchestrator.pipeline.telemetry import Telemetry


class Deaf(Telemetry):
    """Hears nothing, of logs either."""

    def __init__(self) -> None:
        self.recent = Recent()

    def logged(self, level: str) -> None:
        """Nothing."""


def mute(level: str, **_: object) -> None:
    """Log nothing at all, as cheaply as can be."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)


if __name__ == "__main__":
    orchestrator.app.PrometheusTelemetry = Deaf  # type: ignore[misc,assignment]
    logs.configure = mute  # type: ignore[assignment]
    main()
