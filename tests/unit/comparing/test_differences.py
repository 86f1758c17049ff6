"""Differences: what is worth a look, how it is worded, and none where there is none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.comparing import faces, labels, moderation, objects, shots, similarity, text
from orchestrator.comparing.answers import Answer, Both
from orchestrator.comparing.comparison import ANALYZERS, compare
from orchestrator.comparing.differences import Difference, Side, telling
from orchestrator.comparing.truth import Truth
from orchestrator.errors import InvalidRequest
from tests.unit.comparing import made
from tests.unit.comparing.made import LEFT, NEARLY_LEFT, RIGHT, thing

EVERYTHING = made.of(
    "labels",
    {
        **made.ranked(x=0.5, y=0.3),
        **made.objects(thing("person"), thing("dog", 3, RIGHT)),
        **made.lines("EXIT", "WAY"),
        **made.faces(LEFT),
        **made.unsafe(0.2),
        "vector": (0.6, 0.8),
    },
)
EVERYTHING = replace(EVERYTHING, analyzers=frozenset(ANALYZERS))


def test_a_version_agrees_with_itself_in_everything() -> None:
    found = compare([Both(EVERYTHING, EVERYTHING)], {})
    assert [each.analyzer for each in found] == list(ANALYZERS)
    for each in found:
        assert each.differences == ()
        for name, measure in each.agreement.items():
            assert measure.value == pytest.approx(1.0 if measure.rising else 0.0), (each.analyzer, name)


def test_what_no_analyzer_answered_is_left_out() -> None:
    labelled = made.of("labels", made.ranked(x=0.5))
    assert [each.analyzer for each in compare([Both(labelled, labelled)], {})] == ["labels"]


def test_a_truth_of_another_clip_is_refused() -> None:
    pair = Both(made.cuts(30), made.cuts(30))
    with pytest.raises(InvalidRequest, match=r"clip.mp4 has 100 frames, its truth is of one with 99"):
        compare([pair], {"clip.mp4": Truth(frames=99, cuts=(30,))})
    (found,) = compare([pair], {"clip.mp4": Truth(frames=100, cuts=(30,))})
    assert [each["F1"].value for each in found.accuracy] == [1, 1]


def test_a_cut_of_one_version_comes_with_the_frames_around_it() -> None:
    (found,) = shots.differences(Both(made.cuts(30, 60), made.cuts(31)))
    assert (found.frame, found.strip, found.size) == (60, (57, 58, 59, 60, 61, 62), 0.9)
    assert (found.a.cut, found.b.cut) == (60, None)
    assert found.words == "A alone cuts before frame 60, score 0.90"
    (found,) = shots.differences(Both(made.cuts(), made.cuts(2, length=4)))
    assert found.strip == (0, 1, 2, 3)
    assert (found.a.cut, found.b.cut) == (None, 2)


def test_lines_that_are_read_differently() -> None:
    a, b = made.of("text", made.lines("EXIT", "WAY OUT")), made.of("text", made.lines("EX1T", "WAY OUT", "NEW"))
    (found,) = text.differences(Both(a, b))
    assert found.size == 4
    assert [mark.alone for mark in found.a.marks] == [True, False]
    assert [mark.alone for mark in found.b.marks] == [True, False, True]
    assert found.b.lines == ("EX1T", "WAY OUT", "NEW")


def test_objects_of_one_version_alone() -> None:
    a = made.of("objects", made.objects(thing("person"), thing("dog", box=RIGHT, score=0.5)))
    b = made.of("objects", made.objects(thing("person", box=NEARLY_LEFT), thing("cat", box=RIGHT, score=0.6)))
    (found,) = objects.differences(Both(a, b))
    assert (found.words, found.size) == ("A alone sees dog; B alone sees cat", pytest.approx(1.1))
    assert [(mark.caption, mark.alone) for mark in found.a.marks] == [("person 0.80", False), ("dog 0.50", True)]


def test_labels_that_move_or_lead() -> None:
    def found(a: dict[str, object], b: dict[str, object]) -> list[Difference]:
        return list(labels.differences(Both(made.of("labels", a), made.of("labels", b))))

    assert not found(made.ranked(x=0.50, y=0.3), made.ranked(x=0.51, y=0.3))
    (moved,) = found(made.ranked(x=0.5, y=0.3), made.ranked(x=0.7, y=0.3))
    assert (moved.size, moved.words) == (pytest.approx(0.1), "10% of the score moves")
    (led,) = found(made.ranked(x=0.31, y=0.3), made.ranked(y=0.31, x=0.3))
    assert led.words == "x becomes y"
    assert [bar.alone for bar in led.a.bars] == [False, False]
    (foreign,) = found(made.ranked(x=0.5), made.ranked(z=0.5))
    assert [bar.alone for bar in foreign.a.bars] == [True]


def test_faces_alone_or_strange() -> None:
    def found(a: dict[str, object], b: dict[str, object]) -> list[Difference]:
        return list(faces.differences(Both(made.of("faces", a), made.of("faces", b))))

    assert not found(made.faces(LEFT), made.faces(NEARLY_LEFT, vector=(0.95, 0.31)))
    (alone,) = found(made.faces(LEFT, RIGHT), made.faces(LEFT))
    assert (alone.words, [mark.alone for mark in alone.a.marks]) == ("A sees 2, B 1", [False, True])
    (strange,) = found(made.faces(LEFT), made.faces(LEFT, vector=(0.6, 0.8)))
    assert (strange.words, strange.size) == ("cosine 0.60", pytest.approx(0.4))


def test_scores_that_move_or_change_sides() -> None:
    def found(a: float, b: float) -> list[Difference]:
        return list(
            moderation.differences(
                Both(made.of("moderation", made.unsafe(a, 3)), made.of("moderation", made.unsafe(b, 7)))
            )
        )

    assert not found(0.20, 0.24)
    (moved,) = found(0.2, 0.3)
    assert (moved.frame, moved.words) == (7, "the score moves, 0.20 to 0.30")
    (crossed,) = found(0.51, 0.49)
    assert (crossed.frame, crossed.words) == (3, "on another side of the threshold, 0.51 to 0.49")


def test_vectors_that_turn() -> None:
    def found(vector: tuple[float, ...]) -> list[Difference]:
        a, b = made.of("similarity", {"vector": (1.0, 0.0)}), made.of("similarity", {"vector": vector})
        return list(similarity.differences(Both(a, b)))

    assert not found((0.99, 0.1))
    (turned,) = found((0.8, 0.6))
    assert (turned.size, turned.words) == (pytest.approx(0.2), "cosine 0.800")


def test_the_largest_are_shown_and_what_says_the_same_nearby_gives_way() -> None:
    def difference(frame: int, size: float, words: str = "x", clip: str = "clip") -> Difference:
        return Difference("objects", clip, frame, size, words, Side(), Side())

    echo = difference(20, 0.8)
    big, far, other = difference(10, 0.9), difference(90, 0.3), difference(12, 0.2, "y")
    assert telling([other, echo, far, big], 3) == (big, far, other)
    assert telling([other, echo, far, big], 4) == (big, echo, far, other)
    assert telling([big, difference(10, 0.8, clip="another")], 2)[1].clip == "another"
    assert telling([big], 0) == ()


def test_segments_that_only_one_version_has_are_not_paired() -> None:
    a, b = made.cuts(30), made.cuts(40)
    assert Both(a, b).segments == ()
    longer = Answer("clip.mp4", (*a.segments, *b.segments), a.analyzers)
    assert len(Both(longer, b).segments) == 2
