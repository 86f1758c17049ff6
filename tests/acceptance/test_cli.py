"""The command as a user meets it: what it says, and how it ends. What pages promise of it: ``test_pages.py``."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from orchestrator.api import messages as pb
from tests.acceptance.answers import assert_same, parse, reelsift
from tests.acceptance.conftest import Run
from tests.acceptance.server import SHM, Server
from tests.media.pathology import CASES, GOOD

ROOT = Path(__file__).parents[2]
CHECKED = {"python", "triton", "models", "shared memory", "sandbox", "decode worker", "disk, uploads", "open files"}


def test_the_doctor_finds_this_machine_well_and_says_what_it_checked() -> None:
    plain, as_json = reelsift("doctor"), reelsift("doctor", "--json")
    assert (plain.returncode, as_json.returncode) == (0, 0), plain.stdout
    checks = json.loads(as_json.stdout)
    assert {check["name"] for check in checks} >= CHECKED
    assert not [check for check in checks if check["state"] == "fail"]
    assert all(check["found"] for check in checks)
    assert all(name in plain.stdout for name in CHECKED)


def test_the_doctor_says_what_is_missing_and_how_to_mend_it(tmp_path: Path) -> None:
    for folder in (ROOT / "model_repository").iterdir():
        if (folder / "labels.txt").is_file():
            (tmp_path / folder.name).mkdir()
            (tmp_path / folder.name / "labels.txt").write_bytes((folder / "labels.txt").read_bytes())
    done = reelsift("doctor", "--model-repository", tmp_path)
    assert done.returncode == 1
    assert "not exported" in done.stdout
    assert "mend: reelsift models export" in done.stdout


def test_models_are_listed() -> None:
    done = reelsift("models", "list")
    assert done.returncode == 0, done.stderr
    for folder in (ROOT / "model_repository").glob("*/config.pbtxt"):
        assert folder.parent.name in done.stdout


class Page(HTMLParser):
    """Which cards a report has, and everything it refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cards: list[str] = []
        self.references: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        values = {name: value or "" for name, value in attrs}
        if "card" in values.get("class", "").split():
            self.cards.append(values["id"])
        names = ("src", "href", "srcset", "poster", "data", "action", "xlink:href")
        self.references += [values[name] for name in names if name in values]


def test_the_report_has_a_card_for_each_segment_and_needs_nothing_else(run: Run) -> None:
    text = run.report.read_text(encoding="utf-8")
    page = Page(text)
    assert page.cards == [f"segment-{segment.index}" for segment in run.answer.segments]
    assert len([each for each in page.references if each.startswith("data:image/jpeg")]) == len(page.cards)
    assert not [each for each in page.references if not each.startswith(("data:", "#"))]
    assert not page.tags & {"script", "iframe", "object", "embed", "link", "base"}
    assert not re.findall(r"@import|url\((?!['\"]?data:)", text)
    for word in (
        "REELSIFT DEMO 2026",
        "LIVE FROM BRUSSELS",
        "bicycle",
    ):
        assert word in text


def media(name: str, folder: Path) -> Path:
    return CASES[name].build(folder)


@pytest.mark.parametrize(
    ("name", "status", "said"),
    [
        ("plain", 0, ""),
        ("truncated_mp4_12", 3, ""),
        ("text", 1, "UNSUPPORTED_FORMAT"),
        ("empty", 1, "MEDIA_UNREADABLE"),
        ("audio_only_mp4", 1, "NO_VIDEO_STREAM"),
        ("encrypted_cenc", 1, "ENCRYPTED"),
    ],
)
def test_the_exit_status_tells_how_it_went(server: Server, tmp_path: Path, name: str, status: int, said: str) -> None:
    path = media(name, tmp_path)
    done = reelsift("analyze", path, "--analyzers", "keyframe", "--server", server.address)
    assert done.returncode == status, done.stderr
    assert done.stderr.startswith(f"reelsift: {said}: " if said else "")
    assert len(done.stderr.splitlines()) == bool(said)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["analyze", "missing.mp4"], 2, "missing.mp4"),
        (["analyze", "good.mp4", "--server", "unix:nobody.sock"], 1, "UNAVAILABLE"),
        (["analyze", "good.mp4", "--server", "SERVER", "--profile", "nonsense"], 1, "PROFILE_INVALID"),
        (["analyze", "good.mp4", "--server", "SERVER", "--analyzers", "shots,nonsense"], 1, "PROFILE_INVALID"),
        (
            ["analyze", "good.mp4", "--server", "SERVER", "--upload-rate", "9000", "--timeout", "1"],
            1,
            "DEADLINE_EXCEEDED",
        ),
        (["analyze", "."], 2, "directory"),
        (["analyse"], 2, "No such command"),
    ],
)
def test_wrong_use_is_told(server: Server, tmp_path: Path, arguments: list[str], status: int, said: str) -> None:
    GOOD.build(tmp_path).rename(tmp_path / "good.mp4")
    words = [server.address if word == "SERVER" else word for word in arguments]
    done = reelsift(*words, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_one_command_does_it_all_and_leaves_nothing(tmp_path: Path, server: Server) -> None:
    """Without a server the whole service runs inside the command, and answers as a server does."""
    path = GOOD.build(tmp_path)
    words = ("analyze", path, "--json", "--analyzers", "labels,keyframe")
    before = {each.name for each in SHM.glob("reelsift-*")}
    inside = reelsift(*words)
    assert inside.returncode == 0, inside.stderr
    assert not inside.stderr
    left = {each.name for each in SHM.glob("reelsift-*")} - before
    outside = reelsift(*words, "--server", server.address)
    assert_same(parse(inside.stdout.splitlines()), parse(outside.stdout.splitlines()))
    assert isinstance(parse(inside.stdout.splitlines()).finished, pb.Finished)
    assert not [name for name in left if not Path(f"/proc/{name.split('-')[1]}").exists()], "memory of a dead process"


def test_the_terminal_view_shows_progress_and_segments(server: Server, tmp_path: Path) -> None:
    done = reelsift("analyze", GOOD.build(tmp_path), "--analyzers", "shots,keyframe", "--server", server.address)
    assert done.returncode == 0, done.stderr
    assert "plain.mp4" in done.stdout
    assert re.search(r"\b50\b", done.stdout), "frames"


@pytest.mark.parametrize(
    "words", [[], ["analyze"], ["serve"], ["doctor"], ["models"], ["models", "list"], ["jobs"], ["jobs", "list"]]
)
def test_help_explains(words: list[str]) -> None:
    done = reelsift(*words, "--help")
    assert done.returncode == 0
    assert "Usage: reelsift" in done.stdout
