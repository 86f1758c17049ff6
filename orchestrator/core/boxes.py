"""Arithmetic on boxes ``(x0, y0, x1, y1)``."""

from __future__ import annotations

from orchestrator.core.results import Box


def area(box: Box) -> float:
    """Area; 0.0 for an empty box."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def iou(a: Box, b: Box) -> float:
    """Intersection over union, 0..1."""
    shared = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    union = area(a) + area(b) - shared
    return shared / union if union > 0 else 0.0


def clamped(box: Box) -> Box:
    """The part of it inside 0..1; never of negative size."""
    left, top = max(0.0, min(1.0, box[0])), max(0.0, min(1.0, box[1]))
    return left, top, max(left, min(1.0, box[2])), max(top, min(1.0, box[3]))
