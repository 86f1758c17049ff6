"""Clips come from the pinned package, and nothing else is taken for them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.media import clips


@pytest.mark.parametrize("name", clips.CLIPS)
def test_clip_is_the_pinned_one_and_has_its_frames(name: str) -> None:
    assert clips.sha256_of(clips.clip(name)) == clips.CLIPS[name].sha256
    assert sum(1 for _ in clips.pictures(name)) == clips.CLIPS[name].frames


def test_pictures_gives_the_frames_asked_for() -> None:
    every = list(clips.pictures("carphone_pristine"))
    some = list(clips.pictures("carphone_pristine", 10, 13))
    assert [picture.tobytes() for picture in some] == [picture.tobytes() for picture in every[10:13]]


def test_a_damaged_clip_in_the_cache_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = clips._wheel()
    monkeypatch.setattr(clips, "cache_dir", lambda: tmp_path)
    monkeypatch.setattr(clips, "_wheel", lambda: wheel)
    path = clips.clip("carphone_pristine")
    path.write_bytes(b"damaged")
    assert clips.sha256_of(clips.clip("carphone_pristine")) == clips.CLIPS["carphone_pristine"].sha256


def test_another_file_under_the_pinned_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = clips._wheel()
    monkeypatch.setattr(clips, "cache_dir", lambda: tmp_path)
    monkeypatch.setattr(clips, "_wheel", lambda: wheel)
    other = replace(clips.CLIPS["carphone_pristine"], sha256="0" * 64)
    monkeypatch.setitem(clips.CLIPS, "carphone_pristine", other)
    with pytest.raises(clips.ClipUnavailable, match="not the pinned file"):
        clips.clip("carphone_pristine")
    assert not list((tmp_path / "clips").iterdir())


def test_a_package_that_cannot_be_had_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "cache_dir", lambda: tmp_path)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(clips.ClipUnavailable, match="could not download"):
        clips.clip("bikes")
