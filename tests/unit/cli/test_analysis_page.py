"""The page of an analysis shows what the messages say, asks nobody for anything, and lets no text of a media become markup."""

from __future__ import annotations

import base64
from html.parser import HTMLParser

import pytest

from orchestrator.api import messages as pb
from orchestrator.cli.analysis_lanes import lanes, shade
from orchestrator.cli.analysis_page import render


class Page(HTMLParser):
    """Every tag with its attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


HOSTILE = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "</title></style><svg onload=alert(1)>",
    "javascript:alert(1)",
    "{{ 7 * 7 }}{% for x in y %}",
    "red;background:url(http://evil.example/)",
]


@pytest.mark.parametrize("payload", HOSTILE)
def test_hostile_text_stays_text(analysis, payload: str) -> None:
    hostile = Page(render(analysis(text=payload, label=payload), title=payload))
    harmless = Page(render(analysis(text="x", label="y"), title="z"))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in harmless.tags]
    assert [sorted(attributes) for _, attributes in hostile.tags] == [
        sorted(attributes) for _, attributes in harmless.tags
    ]
    assert hostile.text.count(payload) >= 3
    for _, attributes in hostile.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert payload not in (attributes.get("style") or "") + (attributes.get("href") or "")


def test_the_page_stands_alone(analysis) -> None:
    page = Page(render(analysis(), title="clip"))
    assert not [tag for tag, _ in page.tags if tag in ("script", "link", "iframe", "object", "form", "base")]
    policy = next(attributes["content"] for tag, attributes in page.tags if "http-equiv" in attributes)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    for _, attributes in page.tags:
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/jpeg;base64,"))


def test_what_was_found_is_shown(analysis) -> None:
    page = Page(render(analysis(), title="clip.mp4"))
    for expected in (
        "clip.mp4",
        "STOP",
        "person",
        "2 person",
        "1 dog",
        "nsfw",
        "0.75",
        "1 face",
        "ab" * 32,
        "realtime factor",
    ):
        assert expected in page.text
    (image,) = [attributes for tag, attributes in page.tags if tag == "img"]
    assert base64.b64decode((image["src"] or "").split(",")[1]) == b"\xff\xd8jpeg"


def test_boxes_lie_to_scale_and_only_where_they_were_seen(analysis) -> None:
    page = Page(render(analysis(), title="clip"))
    boxes = [attributes for tag, attributes in page.tags if tag == "rect"]
    placed = [tuple(float(box[name] or 0) for name in ("x", "y", "width", "height")) for box in boxes]
    assert (10.0, 20.0, 40.0, 60.0) in placed
    assert (0.0, 0.0, 100.0, 100.0) not in placed  # a sighting nearly a second later
    assert len(placed) == 4  # person, dog, text, face


def test_lanes_are_to_scale(analysis) -> None:
    (segment,) = [response.segment for response in analysis() if response.HasField("segment")]
    found = {lane.name: lane for lane in lanes([segment], 1_000_000_000)}
    assert list(found) == ["segments", "person", "dog", "text", "faces", "moderation"]
    assert (found["segments"].spans[0].left, found["segments"].spans[0].width) == (0, 100)
    assert (found["text"].spans[0].left, found["text"].spans[0].width) == (0, 96)
    assert found["moderation"].spans[0].strength == 0.25
    assert shade("person") == shade("person") != shade("dog")


def test_a_partial_analysis_says_so(analysis) -> None:
    assert "MEDIA_UNREADABLE" in Page(render(analysis(partial=True), title="clip")).text
    assert "PARTIAL" not in Page(render(analysis(), title="clip")).text


def test_an_analysis_without_segments_has_a_page_too() -> None:
    assert "No segment closed" in render([pb.AnalyzeResponse(analysis_id="a", started=pb.Started())], title="clip")
