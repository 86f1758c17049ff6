"""The terminal's view, on no terminal and on one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from orchestrator.api import messages as pb
from orchestrator.cli import describe
from orchestrator.cli.view import View


def shown(responses: list[pb.AnalyzeResponse], *, terminal: bool = False) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=100, highlight=False, color_system=None)
    with View(console, "clip.mp4") as view:
        for response in responses:
            view.show(response)
    return file.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_every_response_is_shown(analysis, terminal: bool) -> None:
    text = shown(analysis(), terminal=terminal)
    for expected in (
        "clip.mp4  64x36 · h264 in mov · 1.0 s",
        "#0  0:00:00.000 - 0:00:01.000",
        "shot 0, cut 1.00",
        "person 0.75",
        "2 person, 1 dog",
        "“STOP” 0.98",
        "1 face (best 0.90), at most 1 at once",
        "nsfw at most 0.25",
        "1 segment of 1.0 s video in 0.3 s (realtime factor 0.30)",
        "25 of 25 expected frames decoded, 0 corrupt, 0 dropped",
    ):
        assert expected in text
    assert "similarity" not in text
    if not terminal:
        assert "50%  realtime factor 0.30" in text
        assert "\x1b" not in text


def test_plain_progress_is_sparse(analysis) -> None:
    progress = analysis()[1]
    assert shown([progress] * 100).count("...") == 1


def test_a_partial_analysis_says_so(analysis) -> None:
    assert "PARTIAL: the media breaks at pts 24 (MEDIA_UNREADABLE)" in shown(analysis(partial=True))


def test_a_class_is_called_by_its_first_name(analysis) -> None:
    assert "tram 0.75" in shown(analysis(label="tram, tramcar"))


@pytest.mark.parametrize("payload", ["\x1b[2J\x1b]0;owned\x07", "[bold red]x[/]", "a\rb\x00\x9b31m"])
def test_hostile_text_commands_no_terminal(analysis, payload: str) -> None:
    text = shown(analysis(text=payload, label=payload))
    assert not set(text) & set("\x1b\x07\r\x00\x9b")
    if payload.isprintable():
        assert payload in text


@pytest.mark.parametrize(
    ("ns", "expected"),
    [(0, "0:00:00.000"), (59_999_999_999, "0:00:59.999"), (3_723_004_000_000, "1:02:03.004")],
)
def test_clock(ns: int, expected: str) -> None:
    assert describe.clock(ns) == expected


@pytest.mark.parametrize(
    ("ns", "expected"), [(8_140_000_000, "8.1 s"), (125_000_000_000, "2 min 5 s"), (3_840_000_000_000, "1 h 4 min")]
)
def test_duration(ns: int, expected: str) -> None:
    assert describe.duration(ns) == expected
