"""The page of a comparison shows both versions side by side, stands alone, and lets no text of a media become markup."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from orchestrator.cli.compare_page import LABEL_HEIGHT, LETTER_WIDTH, Drawn, render, wanted
from orchestrator.cli.compare_runs import Run, Version
from orchestrator.cli.compare_words import Comparison, as_json, change, show
from orchestrator.cli.cpu import Cpu
from orchestrator.comparing.answers import Answer, Both
from orchestrator.comparing.comparison import compare
from orchestrator.comparing.measures import Measure
from orchestrator.comparing.truth import Truth
from orchestrator.core.media import MediaInfo
from orchestrator.pipeline.stills import Stills
from tests.unit.cli.test_analysis_page import HOSTILE, Page
from tests.unit.comparing import made
from tests.unit.comparing.made import LEFT, RIGHT, thing


def comparison(a: Answer, b: Answer, truth: Truth | None = None) -> Comparison:
    truths = {} if truth is None else {a.clip: truth}
    return Comparison(
        (
            Version("labels", 1, "ab" * 32, {"precision": "fp32", "created": "2026-11-28T04:54:45+00:00"}),
            Version("labels", 2, "", {}),
        ),
        (Run((a,), Cpu(2.0, 4.0), 10.0), Run((b,), Cpu(1.0, 3.0), 10.0)),
        truths,
        compare([Both(a, b)], truths),
    )


def stills(*frames: int) -> dict[str, Stills]:
    picture = np.zeros((36, 64, 3), np.uint8)
    media = MediaInfo("mov", "h264", 64, 36, 0, Fraction(1, 25), 0, None, None)
    return {"clip.mp4": Stills(media, list(range(100)), dict.fromkeys(frames, picture))}


def page_of(compared: Comparison, examples: int = 12) -> Page:
    frames = wanted(compared, examples).get("clip.mp4", set())
    return Page(render(compared, stills(*frames), examples))


def labelled(name: str) -> tuple[Answer, Answer]:
    return (
        made.of("labels", {"ranking": ((name, 0.5),)}),
        made.of("labels", {"ranking": (("y", 0.5),)}),
    )


@pytest.mark.parametrize("payload", HOSTILE)
def test_hostile_text_stays_text(payload: str) -> None:
    def made_of(text: str) -> Page:
        a = made.of("text", {**made.lines(text), **made.objects(thing(text)), "ranking": ((text, 0.5),)})
        b = made.of("text", {**made.lines("y"), **made.objects(thing("y")), "ranking": (("y", 0.5),)})
        analyzers = frozenset({"text", "objects", "labels"})
        known = Truth.model_validate({"objects": {text: {"present": [[0, 5]]}}})
        return page_of(
            comparison(Answer("clip.mp4", a.segments, analyzers), Answer("clip.mp4", b.segments, analyzers), known)
        )

    hostile, harmless = made_of(payload), made_of("x")
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in harmless.tags]
    assert [sorted(attributes) for _, attributes in hostile.tags] == [sorted(each) for _, each in harmless.tags]
    assert hostile.text.count(payload) >= 3
    for _, attributes in hostile.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert payload not in (attributes.get("style") or "") + (attributes.get("href") or "")


def test_the_page_stands_alone() -> None:
    page = page_of(comparison(*labelled("x")))
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object", "form", "base")]
    policy = next(attributes["content"] for tag, attributes in page.tags if "http-equiv" in attributes)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    for _, attributes in page.tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/jpeg;base64,"))


def test_each_picture_is_there_once_and_shown_twice() -> None:
    page = page_of(comparison(*labelled("x")))
    (image,) = [attributes for tag, attributes in page.tags if tag == "image"]
    (use,) = [attributes for tag, attributes in page.tags if tag == "use"]
    assert use["href"] == f"#{image['id']}"


def test_boxes_lie_to_scale_and_say_whose_they_are() -> None:
    a = made.of("objects", made.objects(thing("person"), thing("dog", box=RIGHT)))
    b = made.of("objects", made.objects(thing("person", box=LEFT)))
    page = page_of(comparison(a, b))
    drawn = [
        (attributes["class"], *(float(attributes[name] or 0) for name in ("x", "y", "width", "height")))
        for tag, attributes in page.tags
        if tag == "rect" and attributes["class"] != "back"
    ]
    assert drawn == [("shared", 0, 0, 25.6, 36), ("alone", 38.4, 0, 25.6, 36), ("shared", 0, 0, 25.6, 36)]
    assert "A alone sees dog" in page.text


def test_a_caption_stays_inside_its_picture() -> None:
    def label(x: float, y: float) -> tuple[float, float]:
        drawn = Drawn(x, y, 40, 40, "dog 0.50", alone=True, across=640)
        return drawn.label_x, drawn.label_y

    assert label(100, 100) == (100, 100 - LABEL_HEIGHT)
    assert label(100, 5) == (100, 5)
    assert label(620, 100)[0] == pytest.approx(640 - 10 - 8 * LETTER_WIDTH)


def test_a_cut_is_shown_as_a_strip_with_its_place_marked() -> None:
    compared = comparison(made.cuts(30, 60), made.cuts(30))
    assert wanted(compared, 12) == {"clip.mp4": {57, 58, 59, 60, 61, 62}}
    page = page_of(compared)
    shots = [attributes["class"] for tag, attributes in page.tags if (attributes.get("class") or "").startswith("shot")]
    assert shots == ["shot", "shot", "shot", "shot new", "shot", "shot", *["shot"] * 6]
    assert "a new shot begins with frame 60" in page.text


def test_versions_costs_and_measures_are_told() -> None:
    truth = Truth(cuts=(30, 60))
    page = page_of(comparison(made.cuts(30, 60), made.cuts(30), truth))
    assert "ab" * 32 in page.text
    assert "fp32 · made 2026-11-28" in page.text
    for row in ("the model0.20000.10000.50", "recall21.0000.500-0.500", "same cuts20.667"):
        assert row in page.text, "a row of a table, cell by cell"


def test_alike_versions_have_no_example() -> None:
    page = page_of(comparison(made.cuts(30), made.cuts(30)))
    assert "None: both versions answer alike." in page.text
    assert not [tag for tag, _ in page.tags if tag in ("image", "article")]


def test_no_more_examples_than_asked_for() -> None:
    a = made.of("moderation", *(made.unsafe(0.1 * place, 25 * place) for place in range(4)))
    b = made.of("moderation", *(made.unsafe(0.9, 25 * place) for place in range(4)))
    page = page_of(comparison(a, b), examples=2)
    assert len([tag for tag, _ in page.tags if tag == "article"]) == 2
    assert "4 differences, the 2 largest" in page.text


def test_a_frame_without_a_picture_is_said_to_be() -> None:
    assert "no picture" in Page(render(comparison(*labelled("x")), stills(), 12)).text


def test_a_change_is_good_or_bad_by_the_measures_direction() -> None:
    up, down = Measure(0.5, 1), Measure(0.5, 1, rising=False)
    assert change(up, Measure(0.7, 1)) == ("+0.200", "better")
    assert change(down, Measure(0.7, 1, rising=False)) == ("+0.200", "worse")
    assert change(up, Measure(0.5001, 1)) == ("=", "")
    assert change(up, Measure(None, 0)) == ("", "")


def test_tables_and_json_tell_the_same() -> None:
    compared = comparison(made.cuts(30, 60), made.cuts(30), Truth(cuts=(30, 60)))
    document = json.loads(as_json(compared, 12))
    assert document["versions"][0]["cpu_seconds_per_second"] == {"model": 0.2, "everything": 0.4}
    assert document["clips"] == [{"name": "clip.mp4", "frames": 100, "labelled": True}]
    found = document["analyzers"]["shots"]
    assert found["accuracy"]["recall"] == {"of": 2, "a": 1.0, "b": 0.5}
    assert (found["differences"], found["largest"][0]["frame"]) == (1, 60)
    output = StringIO()
    show(compared, Console(file=output, width=120))
    assert re.search(r"recall\s+│ 2\s+│ 1\.000 │ 0\.500 │ -0\.500", output.getvalue())
    assert "1 difference worth a look" in output.getvalue()
