"""Path sources: only regular files below the roots, whatever the path looks like."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.adapters.sources.path import PathSource
from orchestrator.errors import MediaTooLarge, SourceNotAllowed


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "media"
    (root / "inner").mkdir(parents=True)
    (root / "inner" / "clip.mp4").write_bytes(b"12345")
    (tmp_path / "secret").write_bytes(b"secret")
    return root


def test_a_file_below_the_root_is_complete_from_the_start(root: Path) -> None:
    with PathSource(root / "inner" / "clip.mp4", [root]) as source:
        assert (source.committed, source.complete) == (5, True)
        assert os.pread(source.fileno(), 10, 0) == b"12345"
        assert os.pread(source.control_fd, 16, 0) == (5).to_bytes(8, "little") + (1).to_bytes(8, "little")


def test_links_inside_the_root_are_followed(root: Path) -> None:
    (root / "link").symlink_to(root / "inner" / "clip.mp4")
    with PathSource(root / "link", [root]) as source:
        assert source.committed == 5


@pytest.mark.parametrize(
    "path",
    ["../secret", "inner/../../secret", "nothing", "inner", "", "/etc/passwd", "out", "fifo", "device", "bad\0name"],
)
def test_everything_else_is_refused_alike(root: Path, path: str) -> None:
    (root / "out").symlink_to(root.parent / "secret")
    os.mkfifo(root / "fifo")
    (root / "device").symlink_to("/dev/zero")
    target = path if path.startswith("/") else f"{root}/{path}"
    with pytest.raises(SourceNotAllowed) as caught:
        PathSource(target, [root])
    assert str(caught.value) == "the path is not a file below the configured roots"


def test_a_sibling_with_the_same_prefix_is_outside(root: Path) -> None:
    sibling = root.parent / "media-private"
    sibling.mkdir()
    (sibling / "clip.mp4").write_bytes(b"x")
    with pytest.raises(SourceNotAllowed):
        PathSource(sibling / "clip.mp4", [root])


def test_no_roots_means_no_paths(root: Path) -> None:
    with pytest.raises(SourceNotAllowed):
        PathSource(root / "inner" / "clip.mp4", [])


def test_the_limit_holds_and_nothing_stays_open(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(MediaTooLarge):
        PathSource(root / "inner" / "clip.mp4", [root], limit=4)
    for path in ("fifo-free", "inner"):
        with pytest.raises(SourceNotAllowed):
            PathSource(root / path, [root])
    PathSource(root / "inner" / "clip.mp4", [root]).close()
    assert len(os.listdir("/proc/self/fd")) == before
