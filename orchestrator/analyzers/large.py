"""The large picture that text and faces share: 1280x768, aspect kept, from which lines and faces are cut out."""

from __future__ import annotations

from orchestrator.core.frames import Fit, Tap, View
from orchestrator.core.sampling import Sampling

LARGE = View(1280, 768, Fit.LETTERBOX)
LARGE_BATCH = 4


def large_tap(sampling: Sampling, reuse: bool) -> Tap:
    """One tap for all who look at the large picture at the same rate."""
    return Tap(LARGE, sampling, LARGE_BATCH, reuse, host=True)
