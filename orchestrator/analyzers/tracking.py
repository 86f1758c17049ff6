"""Tracks out of detections: ByteTrack (Zhang et al. 2022, arXiv:2110.06864) from the library ``trackers``.

One tracker per class, so that a rider and the bicycle under them do not trade names; ids are unique over all classes
and never used again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SCALE = 1000.0  # the library's motion noise is tuned for pixels


class Tracker:
    """Follows boxes from picture to picture.

    Pictures come in rising order of time. ``min_score`` starts a track; detections below it may only continue one.
    """

    def __init__(self, min_score: float, lost_seconds: float) -> None:
        self._min_score = min_score
        self._lost_seconds = lost_seconds
        self._by_class: dict[int, Any] = {}
        self.next_id = 1  # of the next new track

    def reset(self) -> None:
        """Forget every track (a cut): what comes next is new."""
        self._by_class.clear()

    def update(
        self, boxes: NDArray[np.float32], scores: NDArray[np.float32], classes: NDArray[np.int32], seconds: float
    ) -> Iterator[tuple[int, int]]:
        """Feed one picture: boxes ``[n, 4]`` (0..1), scores and classes ``[n]``. Yields ``(track_id, row)`` per
        tracked box.
        """
        import supervision  # slow to import (1 s), and only needed where objects are tracked

        present = set(classes.tolist())
        for label in sorted(present | set(self._by_class)):
            rows = np.flatnonzero(classes == label)
            detections = supervision.Detections(xyxy=boxes[rows] * _SCALE, confidence=scores[rows], data={"row": rows})
            tracker = self._tracker(label)
            tracked = tracker.update(detections, timestamp=seconds)
            if tracked.tracker_id is None or not len(tracked):
                continue
            # The library names a track when it is seen again; at two pictures a second an object may be seen but
            # once. So newborn tracks,
            # which follow the order of the strong detections that found none, are named here.
            newborn = iter([track for track in tracker.tracks if track.tracker_id == -1])
            for track_id, row in zip(tracked.tracker_id.tolist(), tracked.data["row"].tolist(), strict=True):
                if track_id >= 0:
                    yield track_id, row
                elif scores[row] >= self._min_score:
                    track = next(newborn)
                    track.tracker_id, self.next_id = self.next_id, self.next_id + 1
                    yield track.tracker_id, row

    def _tracker(self, label: int) -> Any:
        if label not in self._by_class:
            from trackers import ByteTrackTracker

            self._by_class[label] = ByteTrackTracker(
                lost_track_buffer=max(1, round(self._lost_seconds * 30)),  # counted in 1/30 s by the library
                track_activation_threshold=self._min_score,
                high_conf_det_threshold=self._min_score,
                minimum_consecutive_frames=1,
            )
        return self._by_class[label]
