"""What analyzers say of a segment, from what they saw in its frames."""

import asyncio

import cv2
import numpy as np
import pytest

from orchestrator.analyzers import faces, keyframe, labels, objects, text
from orchestrator.analyzers.base import Observation, SampledOptions
from orchestrator.analyzers.moderation import Moderation
from orchestrator.analyzers.similarity import Similarity
from orchestrator.core.results import At
from orchestrator.core.segmenting import PlannedSegment
from orchestrator.core.timeline import Interval
from tests.support.fakes import media


def segment(index=0, start=0, end=100, starts_shot=True):
    return PlannedSegment(index, Interval(start, end, start * 40, end * 40), 0, starts_shot, 1.0, False)


def observed(values, start=0, step=10, reused=()):
    return [Observation(At(start + i * step, (start + i * step) * 40), v, i in reused) for i, v in enumerate(values)]


def ranked(**scores):
    names = ["cat", "dog", "car"]
    return labels.Ranked(
        np.array([names.index(n) for n in scores], np.int32), np.array(list(scores.values()), np.float32)
    )


def test_labels_average_over_all_frames_and_name_the_best():
    analyzer = labels.Labels(labels.Options(), ["cat", "dog", "car"])
    result = analyzer.close(segment(), observed([ranked(cat=0.8, dog=0.1), ranked(cat=0.4), ranked(dog=0.9, car=0.01)]))
    assert [(r.label, pytest.approx(r.score), pytest.approx(r.best_score), r.best.frame) for r in result] == [
        ("cat", 0.4, 0.8, 0),
        ("dog", 1.0 / 3, 0.9, 20),
    ]
    assert analyzer.close(segment(), []) is None


def test_similarity_is_a_unit_vector():
    value = Similarity(SampledOptions()).close(segment(), observed([np.array([3.0, 0]), np.array([0, 4.0])]))
    assert value.vector == pytest.approx((0.6, 0.8))


def test_moderation_says_where_the_worst_is():
    value = Moderation(SampledOptions(), ["safe", "nsfw"]).close(segment(), observed([0.1, 0.7, 0.2]))
    assert (value.label, value.max_score, value.at.frame, value.mean_score) == ("nsfw", 0.7, 10, pytest.approx(1 / 3))


def test_the_sharpest_picture_stands_for_the_segment():
    stills = [keyframe.Still(b"a", 1.0, 4, 3), keyframe.Still(b"b", 5.0, 4, 3), keyframe.Still(b"c", 5.0, 4, 3)]
    assert keyframe.Keyframe(keyframe.Options()).close(segment(), observed(stills)).jpeg == b"b"


# --- objects ---------------------------------------------------------------------------------------------------------


def detections(*found):
    return objects.Detections(
        np.array([f[0] for f in found], np.float32).reshape(-1, 4),
        np.array([f[1] for f in found], np.float32),
        np.array([f[2] for f in found], np.int32),
    )


def box(x, y=0.4, side=0.1):
    return [x, y, x + side, y + side]


def test_tracks_follow_objects_go_on_across_segments_and_end_with_the_shot():
    analyzer = objects.Objects(objects.Options(), ["person", "bicycle"])
    analyzer.open(media())
    # A person walks right; a bicycle under them; a weak detection keeps the person's track alive.
    walk = [detections((box(0.1 + i * 0.02), 0.3 if i == 2 else 0.9, 0), (box(0.5), 0.8, 1)) for i in range(5)]
    first = analyzer.close(segment(end=50), observed(walk))
    assert {t.label: len(t.points) for t in first} == {"person": 5, "bicycle": 5}
    person = next(t for t in first if t.label == "person")
    assert person.score == pytest.approx(0.9)
    assert [p.at.frame for p in person.points] == [0, 10, 20, 30, 40]
    second = analyzer.close(
        segment(1, 50, 100, starts_shot=False), observed([detections((box(0.2), 0.9, 0))], start=50)
    )
    assert second[0].track_id == person.track_id
    third = analyzer.close(segment(2, 100, 150), observed([detections((box(0.2), 0.9, 0))], start=100))
    assert third[0].track_id not in {t.track_id for t in first}


def test_a_weak_detection_starts_no_track():
    analyzer = objects.Objects(objects.Options(), ["person"])
    analyzer.open(media())
    assert analyzer.close(segment(), observed([detections((box(0.1), 0.3, 0))] * 5)) == ()


# --- text ------------------------------------------------------------------------------------------------------------

ALPHABET = ["<blank>", *"ABC "]


def test_ctc_collapse():
    indices = [0, 1, 1, 0, 1, 2, 2, 4, 3, 0]
    assert text.collapse(indices, [0.5] * 10, ALPHABET) == ("AAB C", pytest.approx(0.5))
    assert text.collapse([0, 0], [0.9, 0.9], ALPHABET) == ("", 0.0)


def test_readings_of_one_line_are_joined_and_vote():
    at = (0.1, 0.8, 0.6, 0.9)
    readings = [
        (text.Reading("BREAKING NEWS", 0.9, at),),
        (text.Reading("BREAKING NEWS", 0.95, at), text.Reading("LIVE", 0.9, (0.8, 0.1, 0.9, 0.2))),
        (text.Reading("BREAKlNG NEWS", 0.99, at),),
        (text.Reading("BREAKING NEWS", 0.9, (0.1, 0.1, 0.6, 0.2)),),
    ]
    lines = text.Text(text.Options(), ALPHABET).close(segment(), observed(readings))
    assert [(line.text, line.readings, line.first.frame, line.last.frame) for line in lines] == [
        ("BREAKING NEWS", 3, 0, 20),
        ("LIVE", 1, 10, 10),
        ("BREAKING NEWS", 1, 30, 30),
    ]
    assert lines[0].score == 0.95


def test_text_regions_find_and_grow_lines():
    from orchestrator.analyzers.pictures import text_regions

    probability = np.zeros((100, 200), np.uint8)
    cv2.rectangle(probability, (20, 20), (120, 32), 230, -1)
    cv2.rectangle(probability, (20, 70), (60, 80), 120, -1)  # too weak
    probability[95:97, 5:7] = 255  # too small
    (region,) = text_regions(probability, 0.3, 0.6, 1.6)
    x0, y0 = region.quad.min(axis=0)
    x1, y1 = region.quad.max(axis=0)
    assert (x0, y0, x1, y1) == pytest.approx((11.4, 11.4, 128.6, 40.6), abs=0.7)
    assert region.score == pytest.approx(230 / 255, abs=0.01)
    assert region.quad[0].tolist() == [x0, y0]


# --- faces -----------------------------------------------------------------------------------------------------------


def sighting(direction, score=0.9):
    vector = np.zeros(4, np.float32)
    vector[direction] = 1
    return faces.Sighting((0.1, 0.1, 0.2, 0.2), score, vector)


def test_faces_are_grouped_by_likeness():
    seen = observed([(sighting(0), sighting(1)), (sighting(0, 0.95),), ()])
    value = faces.Faces(faces.Options()).close(segment(), seen)
    assert value.most_at_once == 2
    assert [(f.sightings, f.score, f.at.frame) for f in value.faces] == [(2, 0.95, 10), (1, 0.9, 0)]


def test_options_refuse_nonsense():
    with pytest.raises(ValueError, match="fps"):
        SampledOptions(fps=-1)


def test_keyframes_are_the_picture_without_the_letterbox():
    from orchestrator.analyzers.batch import PictureBatch
    from tests.support.fakes import FakeInference, batch

    analyzer = keyframe.Keyframe(keyframe.Options())
    analyzer.open(media(width=640, height=272))
    pictures = PictureBatch.of(batch(analyzer.tap, [0, 25], 26), FakeInference({}))
    stills = asyncio.run(analyzer.analyze(pictures))
    decoded = cv2.imdecode(np.frombuffer(stills[1].jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (204, 480, 3)
    assert abs(int(decoded.mean()) - 25) <= 1
