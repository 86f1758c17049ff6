"""COCO's own reader and evaluation take the file; every sighting is in it, in pixels and at its exact time."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from orchestrator.core.results import ObjectTrack
from tests.unit.exports.made import Made, analyses, composite


def read(data: bytes, folder: Path) -> COCO:
    path = folder / "export.json"
    path.write_bytes(data)
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=analyses())
def test_every_sighting_comes_back(made: Made, tmp_path: Path) -> None:
    coco = read(made.file("coco"), tmp_path)
    expected = [
        (segment.index, track.track_id, track.label, point)
        for segment, track in made.each(ObjectTrack)
        for point in track.points
    ]
    assert [annotation["id"] for annotation in coco.dataset["annotations"]] == list(range(1, len(expected) + 1))
    for annotation, (index, track_id, label, point) in zip(coco.dataset["annotations"], expected, strict=True):
        (image,) = coco.loadImgs(annotation["image_id"])
        (category,) = coco.loadCats(annotation["category_id"])
        x, y, width, height = annotation["bbox"]
        left, top, right, bottom = point.box
        assert (annotation["segment_index"], annotation["track_id"], category["name"]) == (index, track_id, label)
        assert (image["frame_id"], image["pts"], annotation["score"]) == (point.at.frame, point.at.pts, point.score)
        assert (x / 640, y / 360) == pytest.approx((left, top))
        assert (width / 640, height / 360) == pytest.approx((right - left, bottom - top), abs=1e-12)
        assert annotation["area"] == width * height
    strict(coco.dataset, made)


def strict(data: dict[str, Any], made: Made) -> None:
    """The structure that the COCO page demands (https://cocodataset.org/#format-data), and exact times."""
    assert {"info", "licenses", "images", "annotations", "categories", "videos"} == set(data)
    (video,) = data["videos"]
    base = made.media.time_base
    assert video["time_base"] == [base.numerator, base.denominator]
    images, categories = data["images"], data["categories"]
    assert [image["id"] for image in images] == list(range(1, len(images) + 1))
    assert [category["id"] for category in categories] == list(range(1, len(categories) + 1))
    assert len({category["name"] for category in categories}) == len(categories)
    frames = [image["frame_id"] for image in images]
    assert frames == sorted(set(frames))
    assert set(frames) == {point.at.frame for _, track in made.each(ObjectTrack) for point in track.points}
    assert len({image["file_name"] for image in images}) == len(images)
    for image in images:
        assert (image["video_id"], image["width"], image["height"]) == (video["id"], 640, 360)
        assert image["offset_ns"] == made.seconds(image["pts"]) * 1_000_000_000 // 1
    for annotation in data["annotations"]:
        assert annotation["iscrowd"] == 0
        assert len(annotation["bbox"]) == 4


def test_the_composite_evaluates_perfectly_against_itself(tmp_path: Path) -> None:
    made = composite()
    truth = read(made.file("coco"), tmp_path)
    with contextlib.redirect_stdout(io.StringIO()):
        found = truth.loadRes(json.loads(json.dumps(truth.dataset["annotations"])))
        scores = COCOeval(truth, found, "bbox")
        scores.evaluate()
        scores.accumulate()
        scores.summarize()
    assert scores.stats[0] == pytest.approx(1.0)
    assert {category["name"] for category in truth.loadCats(truth.getCatIds())} >= {"car", "person", "bicycle"}
    assert len(truth.getAnnIds(imgIds=[1])) == 3  # the first segment with objects: two cars and a person
