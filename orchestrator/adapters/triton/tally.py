"""What the requests of one loaded version have come to."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from orchestrator.core.rollout import Measured

_WINDOW = 512  # answers whose times are kept
_WARM = 20  # answers of each instance, until its memory counts as what it needs


@dataclass(slots=True)
class Tally:
    """One request is one attempt: one that is lost counts as a failure, though a retry may have saved its caller."""

    requests: int = 0
    failures: int = 0
    compared: int = 0
    disagreed: int = 0
    _answers: int = 0  # of the processes that run now
    _seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    _first_bytes: int = 0

    def answered(self, seconds: float) -> None:
        """An answer came after ``seconds``."""
        self.requests += 1
        self._answers += 1
        self._seconds.append(seconds)

    def failed(self) -> None:
        """A request was lost or refused, or a process died without any."""
        self.requests += 1
        self.failures += 1

    def loaded(self) -> None:
        """Its processes are new ones."""
        self._answers = self._first_bytes = 0

    def compare(self, *, agreed: bool) -> None:
        """An answer was held against the stable version's."""
        self.compared += 1
        self.disagreed += not agreed

    def measured(self, resident_bytes: int, instances: int) -> Measured:
        """Everything, with the memory of its ``instances`` processes now."""
        if not self._first_bytes and self._answers >= _WARM * instances:
            self._first_bytes = resident_bytes
        p50, p95 = np.percentile(self._seconds, (50, 95)) if self._seconds else (0.0, 0.0)
        return Measured(
            self.requests, self.failures, float(p50), float(p95),
            resident_bytes, self._first_bytes, self.compared, self.disagreed,
        )  # fmt: skip
