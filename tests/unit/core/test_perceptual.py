"""Near-duplicates: coding noise is the same picture; a changed subtitle or a small newcomer is not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.core.perceptual import likeness


def scene(width: int = 224, height: int = 224) -> NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 200 // width + 20, y * 180 // height + 30, (x + y) % 97 + 40], axis=2).astype(np.uint8)


def test_a_picture_is_like_itself_under_coding_noise() -> None:
    clean = scene()
    noise = np.random.default_rng(0).integers(-4, 5, clean.shape)
    noisy = np.clip(clean.astype(int) + noise, 0, 255).astype(np.uint8)
    assert likeness(clean).same(likeness(clean))
    assert likeness(clean).same(likeness(noisy))


@pytest.mark.parametrize("at", [(0, 0), (100, 60), (218, 218), (3, 217)])
def test_something_small_is_noticed(at: tuple[int, int]) -> None:
    changed = scene()
    changed[at[0] : at[0] + 6, at[1] : at[1] + 6] = 255
    assert not likeness(scene()).same(likeness(changed))


def test_a_changed_letter_is_noticed() -> None:
    first, second = scene(640, 384), scene(640, 384)
    first[340:352, 300:302] = 255  # an "l"
    second[340:352, 304:306] = 255
    assert not likeness(first).same(likeness(second))


def test_slow_fades_are_noticed_in_the_end() -> None:
    dark = (scene() * 0.9).astype(np.uint8)
    assert not likeness(scene()).same(likeness(dark))


def test_flat_pictures_hash_alike_and_differ_by_level() -> None:
    flat = np.full((64, 64, 3), 100, np.uint8)
    assert likeness(flat).hash == 0
    dithered = flat.copy()
    dithered[::2] += 1
    assert likeness(flat).same(likeness(dithered))
    assert not likeness(flat).same(likeness(flat + np.uint8(3)))


@pytest.mark.parametrize("size", [(1, 1), (5, 20), (9, 8), (333, 77)])
def test_any_size_works(size: tuple[int, int]) -> None:
    picture = scene(*size)
    assert likeness(picture).same(likeness(picture))


def test_pictures_of_different_size_are_never_alike() -> None:
    assert not likeness(scene(64, 64)).same(likeness(scene(128, 64)))
