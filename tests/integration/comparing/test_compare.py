"""Two versions of a model compared by the real command: real decoder, analyzers, Triton and weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.answers import reelsift
from tests.media.composite import CARD, Line, Part, build
from tests.media.labelled import truth_of
from tests.support.spoilt import repository_with
from tests.unit.cli.test_analysis_page import Page

MARKUP = "<b>STOP</b>"
PARTS = (
    Part(CARD, 0, 50, line=Line(MARKUP, 0, 50, "middle")),
    Part("bikes", 107, 137, window=(1.0, 0.5)),
    Part("bikes", 187, 242, window=(0.6, 0.5)),
)
"""Five seconds with two cuts, one line, a cyclist and a parked bicycle."""

Compare = Callable[..., tuple[dict[str, Any], Page]]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labelled")
    clip = folder / "short.mp4"
    truth_of(build(clip, PARTS)).write_beside(clip)
    return folder


@pytest.fixture
def compare(labelled: Path, tmp_path: Path) -> Compare:
    """Compare version 1 of a model and one with ``noise`` on its weights; the printed document and the page."""

    def run(model: str, *arguments: str | Path, noise: float) -> tuple[dict[str, Any], Page]:
        repository, page = repository_with(tmp_path / "models", model, noise=noise), tmp_path / "page.html"
        where = ("--repository", repository, "--page", page, "--json", *(arguments or ("--labelled", labelled)))
        done = reelsift("models", "compare", model, "1", "9", *where)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout), Page(page.read_text(encoding="utf-8"))

    return run


def test_spoilt_labels_differ_and_are_shown(compare: Compare) -> None:
    document, page = compare("labels", noise=0.3)
    assert list(document["analyzers"]) == ["labels", "similarity"]
    labels, similarity = document["analyzers"]["labels"], document["analyzers"]["similarity"]
    top = labels["accuracy"]["top-1 accuracy"]
    assert (top["a"], top["of"]) == (pytest.approx(1 / 3), 3), (
        "it knows the cyclist, and takes the parked bicycle for a garbage truck"
    )
    assert labels["agreement"]["same score"]["value"] < 0.9
    assert similarity["agreement"]["mean cosine"]["value"] < 0.98
    sizes = [each["size"] for each in labels["largest"]]
    assert sizes
    assert sizes == sorted(sizes, reverse=True)
    articles = [tag for tag, _ in page.tags if tag == "article"]
    assert len(articles) == len(sizes) + len(similarity["largest"])
    assert len([tag for tag, _ in page.tags if tag == "image"]) == len(articles)
    for version in document["versions"]:
        assert 0 < version["cpu_seconds_per_second"]["model"] < version["cpu_seconds_per_second"]["everything"]


def test_spoilt_shots_miss_cuts_that_the_version_before_finds(compare: Compare) -> None:
    document, page = compare("shots", "--profile", "thorough", noise=0.5)
    shots = document["analyzers"]["shots"]
    assert shots["accuracy"] == {}, "no clip was named: golden ones, of which nothing is known"
    assert {each["name"] for each in document["clips"]} == {"bikes.mp4", "carphone_pristine.mp4", "bigbuckbunny.mp4"}
    assert shots["agreement"]["same cuts"]["value"] < 1
    assert shots["differences"] > 0
    assert any(attributes.get("class") == "shot new" for _, attributes in page.tags)


def test_cuts_are_judged_by_the_truth(compare: Compare) -> None:
    document, _ = compare("shots", noise=0.0)
    f1 = document["analyzers"]["shots"]["accuracy"]["F1"]
    assert (f1["a"], f1["b"], f1["of"]) == (1.0, 1.0, 2)


def test_the_same_weights_agree_in_everything(compare: Compare) -> None:
    document, page = compare("objects", noise=0.0)
    objects = document["analyzers"]["objects"]
    assert objects["agreement"]["same objects"] == {"of": objects["agreement"]["same objects"]["of"], "value": 1.0}
    assert objects["agreement"]["same objects"]["of"] > 5
    assert objects["accuracy"]["average precision at 50 %"]["of"] > 3
    assert objects["accuracy"]["recall of bicycle"] == {"of": 2, "a": 1.0, "b": 1.0}
    for measure in objects["accuracy"].values():
        assert measure["a"] == measure["b"]
    assert (objects["differences"], objects["largest"]) == (0, [])
    assert not [tag for tag, _ in page.tags if tag == "article"]


def test_markup_that_was_read_in_a_picture_stays_text(compare: Compare) -> None:
    document, page = compare("text_recognition", noise=0.12)
    text = document["analyzers"]["text"]
    assert text["accuracy"]["lines exact"]["a"] == 1.0, "the markup itself was read"
    assert text["differences"] > 0
    assert MARKUP in page.text
    allowed = {"rect", "text", "image", "use", "svg", "article", "b", "i", "div", "span"}
    inside = [tag for tag, attributes in page.tags if attributes.get("class") == "line"]
    assert inside
    assert set(inside) <= allowed
    plain = Page(MARKUP)
    assert [tag for tag, _ in plain.tags] == ["b"], "it would have been markup"


def test_a_version_that_there_is_not_is_said_to_be_missing(labelled: Path) -> None:
    done = reelsift("models", "compare", "labels", "1", "7", "--labelled", labelled)
    assert done.returncode == 1
    assert done.stderr.startswith(
        "reelsift: NOT_FOUND: the model repository holds no version 7 of labels; it holds 1"
    ), "before anything else was said or done"
