"""Surfaces to pictures: against the float64 equations, and beside what the CPU makes of the same frames."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from orchestrator.adapters.decoders.scaling import Scaler
from orchestrator.adapters.gpu.colour import Colour
from orchestrator.adapters.gpu.pictures import Geometry, Painter
from orchestrator.adapters.gpu.resampling import weights
from orchestrator.core.frames import Fit, View
from orchestrator.core.perceptual import likeness, of_thumbnail
from tests.support.gpu import surface
from tests.unit.adapters.decoders.clips import CLIPS

CPU = torch.device("cpu")
BT601 = Colour(6, full_range=False)
VIEWS = (View(48, 27), View(40, 40, Fit.LETTERBOX), View(160, 100))


def frames_of(name: str, folder: Path) -> list[av.VideoFrame]:
    clip = next(clip for clip in CLIPS if clip.name == name)
    with av.open(str(clip.write(folder))) as media:
        return list(media.decode(video=0))[:20:5]


def painted(frames: list[av.VideoFrame], *views: View, turn: int = 0) -> list[NDArray[np.uint8]]:
    painter = Painter(Geometry(frames[0].width, frames[0].height, turn), BT601, CPU)
    planes = painter.planes([surface(frame) for frame in frames])
    return [painter.paint(planes, view).numpy() for view in views]


def reference(frame: av.VideoFrame, view: View) -> NDArray[np.float64]:
    """The same in float64, plane by plane."""
    samples = surface(frame).numpy().astype(np.float64)
    samples = samples / 256 if frame.format.components[0].bits > 8 else samples
    width, height = view.content(frame.width, frame.height)
    chroma = samples[frame.height :]
    planes = [
        weights(height, plane.shape[0]) @ plane @ weights(width, plane.shape[1]).T
        for plane in (samples[: frame.height], chroma[:, 0::2], chroma[:, 1::2])
    ]
    matrix, offset = BT601.affine()
    return np.clip(np.stack(planes, axis=-1) @ matrix.T + offset, 0, 255)


@pytest.mark.parametrize("name", ["plain.mp4", "tenbit.mp4"])
@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_the_equations_hold(tmp_path: Path, name: str, view: View) -> None:
    frames = frames_of(name, tmp_path)
    (made,) = painted(frames, view)
    for frame, picture in zip(frames, made, strict=True):
        assert np.abs(picture - reference(frame, view)).max() <= 0.51


@pytest.mark.parametrize("name", ["plain.mp4", "tenbit.mp4", "hevc.mp4"])
def test_it_looks_as_on_the_cpu(tmp_path: Path, name: str) -> None:
    """libswscale is up to 2 levels darker and halves the resolution of colour; of light little may differ."""
    frames = frames_of(name, tmp_path)
    grey = np.array([0.299, 0.587, 0.114])
    for view, made in zip(VIEWS, painted(frames, *VIEWS), strict=True):
        for frame, picture in zip(frames, made, strict=True):
            cpu = Scaler(view).scale(frame, 0)
            assert picture.shape == cpu.shape
            difference = (picture.astype(float) - cpu) @ grey
            assert np.abs(difference).mean() <= 3.5
            assert -3.0 <= difference.mean() <= 3.0


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_pictures_are_turned_upright(tmp_path: Path, turn: int) -> None:
    frames = frames_of("plain.mp4", tmp_path)
    view, stored = View(60, 80), View(60, 80) if turn == 180 else View(80, 60)
    (turned,), (straight,) = painted(frames, view, turn=turn), painted(frames, stored)
    assert np.array_equal(turned, np.rot90(straight, -(turn // 90), axes=(1, 2)))


def test_some_of_the_frames_are_painted_as_all(tmp_path: Path) -> None:
    frames = frames_of("plain.mp4", tmp_path)
    painter = Painter(Geometry(128, 96, 0), BT601, CPU)
    planes = painter.planes([surface(frame) for frame in frames])
    assert torch.equal(painter.paint(planes, VIEWS[0], [0, 2]), painter.paint(planes, VIEWS[0])[[0, 2]])


def test_thumbnails_tell_the_same_likeness(tmp_path: Path) -> None:
    frames = frames_of("plain.mp4", tmp_path)
    painter = Painter(Geometry(128, 96, 0), BT601, CPU)
    made = painter.paint(painter.planes([surface(frame) for frame in frames]), View(64, 48))
    for picture, thumbnail in zip(made.numpy(), painter.thumbnails(made), strict=True):
        whole, small = likeness(picture), of_thumbnail(thumbnail)
        assert whole.hash == small.hash
        assert np.allclose(whole.thumbnail, small.thumbnail, atol=1e-3)
