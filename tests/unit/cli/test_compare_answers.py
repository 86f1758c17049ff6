"""Messages as the comparison reads them, and what is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from orchestrator.adapters.sources.profiles import load_profiles
from orchestrator.cli import exits
from orchestrator.cli.compare_answers import answer_of
from orchestrator.cli.compare_runs import Plan, Version, named
from orchestrator.cli.main import app
from orchestrator.comparing.answers import Cut, Span
from orchestrator.core.profiles import parse_profile
from orchestrator.errors import InvalidRequest, NotFound, ProfileError
from orchestrator.settings import Settings

runner = CliRunner()


def test_every_kind_of_answer_is_read(analysis) -> None:
    answer = answer_of("clip.mp4", analysis())
    (segment,) = answer.segments
    assert (answer.frames, segment.span, segment.starts_shot) == (25, Span(0, 25), Cut(0, 1.0))
    assert answer.cuts == (), "the media's own beginning is no cut"
    assert answer.analyzers == {"shots", "labels", "objects", "text", "faces", "moderation", "similarity"}
    assert segment.ranking == (("person", 0.75),)
    assert segment.frame == 5
    assert [(each.label, each.frame) for each in answer.objects] == [("person", 5), ("person", 24), ("dog", 5)]
    assert answer.objects[0].box == pytest.approx((0.1, 0.2, 0.5, 0.8))
    (line,) = answer.lines
    assert (line.text, line.span) == ("STOP", Span(0, 25))
    assert segment.faces is not None
    assert (len(segment.faces), segment.most_faces) == (1, 1)
    assert segment.unsafe is not None
    assert (segment.unsafe.score, segment.unsafe.frame) == (0.25, 5)
    assert segment.vector == (1.0,)


def plan(model: str, profile: str = "default") -> Plan:
    return Plan.of(model, load_profiles()[profile], {}, Settings().model_repository)


def test_those_analyzers_run_that_ask_the_model() -> None:
    assert list(plan("labels").profile.analyzers) == ["labels", "similarity"]
    assert list(plan("face_embedding").profile.analyzers) == ["faces"]
    assert set(plan("face_embedding").models) == {"faces", "face_embedding"}
    assert list(plan("text_orientation", "thorough").profile.analyzers) == ["text"]
    with pytest.raises(InvalidRequest, match="no analyzer of the profile 'default' asks text_orientation"):
        plan("text_orientation")


def test_the_profile_keeps_its_settings_and_segments_are_short_without_shots(tmp_path: Path) -> None:
    written = parse_profile("x", (plan("objects", "thorough").write(tmp_path / "a") / "compare.toml").read_text())
    assert dict(written.analyzers) == {"objects": {"fps": 5, "reuse": False}}
    assert written.max_segment_ns == 1_000_000_000
    shots = parse_profile("x", (plan("shots").write(tmp_path / "b") / "compare.toml").read_text())
    assert shots.max_segment_ns == 10_000_000_000


def test_only_objects_tell_which_frames_they_are_shown() -> None:
    looks = plan("objects").looks
    assert looks is not None
    assert looks.fps == 2
    assert plan("labels").looks is None
    assert plan("objects", "keyframes").looks is None


def test_clips_of_one_name_are_told_apart(tmp_path: Path) -> None:
    clips = [tmp_path / "a" / "x.mp4", tmp_path / "b" / "x.mp4", tmp_path / "a" / "x.mp4", tmp_path / "y.mp4"]
    assert named(clips) == {"x.mp4": clips[0], "b/x.mp4": clips[1], "y.mp4": clips[3]}


def test_a_version_without_a_manifest_has_no_facts(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no version 1 of labels"):
        Version.read(tmp_path, "labels", 1)
    (tmp_path / "labels" / "1").mkdir(parents=True)
    assert Version.read(tmp_path, "labels", 1) == Version("labels", 1, "", {})
    real = Version.read(Settings().model_repository, "labels", 1)
    assert len(real.digest) == 64
    assert real.line.startswith("fp32 · onnx · Apache-2.0 · made 20")


@pytest.mark.parametrize(
    "arguments",
    [
        ["labels", "1"],
        ["labels", "0", "1"],
        ["labels", "1", "1", "--clips", "missing.mp4"],
        ["labels", "1", "1", "--labelled", "missing"],
        ["labels", "1", "1", "--page", "/no/such/folder/page.html"],
    ],
)
def test_wrong_usage_has_status_2(arguments: list[str]) -> None:
    assert runner.invoke(app, ["models", "compare", *arguments]).exit_code == exits.USAGE


def test_an_unknown_profile_is_named(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"")
    result = runner.invoke(app, ["models", "compare", "labels", "1", "1", "--clips", str(clip), "--profile", "x"])
    assert isinstance(result.exception, ProfileError)
    assert "there is no profile 'x'; there are default" in str(result.exception)
