"""COCO object detection with tracks: every sighting of an object, in pixels of the displayed picture.

Images are the frames in which an object was seen. Beyond COCO: ``videos``, ``video_id`` and ``frame_id`` as in CocoVID,
``track_id``, ``score``, and exact times. Streams, sightings first; 16 bytes stay in memory for each image.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from orchestrator.core.results import Box, Segment
from orchestrator.exports.subject import Subject, items

Json = dict[str, Any]
VIDEO_ID = 1


def write(subject: Subject, segments: Iterable[Segment]) -> Iterator[bytes]:
    """One JSON object. Ids count from 1: of categories in the order of their first sighting, of images in that of time."""
    table = _Table(subject)
    yield b'{"info":' + orjson.dumps(_info(subject)) + b',"licenses":[]'
    yield b',"videos":' + orjson.dumps([_video(subject)])
    yield b',"annotations":['
    yield from _listed(table.annotations(segments))
    yield b'],"images":['
    yield from _listed(table.images())
    yield b'],"categories":['
    yield from _listed(table.categories())
    yield b"]}\n"


def _listed(rows: Iterable[Json]) -> Iterator[bytes]:
    separator = b"\n"
    for row in rows:
        yield separator + orjson.dumps(row)
        separator = b",\n"


def _info(subject: Subject) -> Json:
    return {"description": f"reelsift analysis {subject.record.id}", "version": "1"}


def _video(subject: Subject) -> Json:
    media = subject.media
    rate = media.average_rate
    return {
        "id": VIDEO_ID,
        "name": subject.name,
        "width": media.width,
        "height": media.height,
        "time_base": [media.time_base.numerator, media.time_base.denominator],
        "start_pts": media.start_pts,
        "average_frame_rate": None if rate is None else [rate.numerator, rate.denominator],
    }


class _Table:
    """Numbers images and categories while the sightings pass by."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._frames = array("q")
        self._pts = array("q")
        self._categories: dict[str, int] = {}

    def annotations(self, segments: Iterable[Segment]) -> Iterator[Json]:
        """The sightings, by segment and track."""
        annotation_id = 0
        for segment in segments:
            tracks = items(segment, "objects")
            images = self._number({point.at.frame: point.at.pts for track in tracks for point in track.points})
            for track in tracks:
                category = self._categories.setdefault(track.label, len(self._categories) + 1)
                for point in track.points:
                    annotation_id += 1
                    bbox = self._pixels(point.box)
                    yield {
                        "id": annotation_id,
                        "image_id": images[point.at.frame],
                        "category_id": category,
                        "bbox": bbox,
                        "area": bbox[2] * bbox[3],
                        "iscrowd": 0,
                        "score": point.score,
                        "track_id": track.track_id,
                        "segment_index": segment.index,
                    }

    def images(self) -> Iterator[Json]:
        """The frames, in order of time."""
        media = self._subject.media
        for number, (frame, pts) in enumerate(zip(self._frames, self._pts, strict=True), 1):
            yield {
                "id": number,
                "video_id": VIDEO_ID,
                "frame_id": frame,
                "file_name": f"{self._subject.record.id}/{frame:09}.jpg",
                "width": media.width,
                "height": media.height,
                "pts": pts,
                "offset_ns": self._subject.ns(pts),
            }

    def categories(self) -> Iterator[Json]:
        """The classes that were seen."""
        for name, number in self._categories.items():
            yield {"id": number, "name": name, "supercategory": "object"}

    def _number(self, pts: dict[int, int]) -> dict[int, int]:
        first = len(self._frames) + 1
        frames = sorted(pts)
        self._frames.extend(frames)
        self._pts.extend(pts[frame] for frame in frames)
        return {frame: number for number, frame in enumerate(frames, first)}

    def _pixels(self, box: Box) -> list[float]:
        """``[x, y, width, height]``."""
        left, top, right, bottom = box
        width, height = self._subject.media.width, self._subject.media.height
        return [left * width, top * height, (right - left) * width, (bottom - top) * height]
