"""Geometry and coding of pictures: the only home of OpenCV."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Quad = NDArray[np.float32]  # [4, 2]: corners in pixels, clockwise from the top left

cv2.setNumThreads(1)  # the cores belong to the decoder and the models


def resize(picture: Picture, width: int, height: int) -> Picture:
    """Resize to ``width`` x ``height``; area averaging when shrinking, cubic when growing."""
    shrinks = width * height < picture.shape[0] * picture.shape[1]
    return np.asarray(
        cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC), np.uint8
    )


def sharpness(picture: Picture) -> float:
    """Variance of the Laplacian: higher is sharper (Pech-Pacheco et al. 2000)."""
    return float(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var())


def encode_jpeg(picture: Picture, quality: int) -> bytes:
    """RGB ``[h, w, 3]`` as JPEG."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"a picture of shape {picture.shape} cannot be encoded")
    return data.tobytes()


def square_crop(picture: Picture, box: NDArray[np.floating], size: int, margin: float) -> Picture:
    """The square around pixel ``box`` (x0, y0, x1, y1), its side widened by ``margin`` at each end, as ``size`` x
    ``size``.

    What lies outside the picture repeats its border.
    """
    x0, y0, x1, y1 = (float(value) for value in box)
    side = max(x1 - x0, y1 - y0) * (1 + 2 * margin)
    left, top = (x0 + x1 - side) / 2, (y0 + y1 - side) / 2
    scale = size / side
    matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]], np.float32)
    return np.asarray(
        cv2.warpAffine(picture, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8
    )


def straighten(picture: Picture, quad: Quad, width: int, height: int, canvas: int, fill: int) -> Picture:
    """The quadrilateral as an upright ``height`` x ``width`` picture at the left of a ``height`` x ``canvas`` one
    filled with ``fill``.
    """
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(quad, target)
    strip = cv2.warpPerspective(
        picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    out = np.full((height, canvas, 3), fill, np.uint8)
    out[:, :width] = strip
    return out


@dataclass(frozen=True, slots=True)
class TextRegion:
    """A line of text: its corners in pixels of the probability map, and the mean probability inside."""

    quad: Quad
    score: float


def text_regions(
    probability: NDArray[np.uint8], threshold: float, min_score: float, unclip: float, min_side: float = 3.0
) -> list[TextRegion]:
    """Text lines out of a DB probability map ``[h, w]`` (0..255), top to bottom.

    The post-processing of Liao et al. 2020 (arXiv:1911.08947), with rotated rectangles: the shrunk kernel that the
    network paints is
    grown by ``area * unclip / perimeter``.
    """
    mask = (probability > round(threshold * 255)).astype(np.uint8)
    contours, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    regions = []
    for contour in contours:
        (cx, cy), (w, h), angle = cv2.minAreaRect(contour)
        if min(w, h) < min_side:
            continue
        x, y, bw, bh = cv2.boundingRect(contour)
        inside = np.zeros((bh, bw), np.uint8)
        cv2.fillPoly(inside, [contour - np.array([x, y])], 1)
        score = float(probability[y : y + bh, x : x + bw][inside > 0].mean()) / 255.0
        if score < min_score:
            continue
        grow = w * h * unclip / (2 * (w + h))
        quad = cv2.boxPoints(((cx, cy), (w + 2 * grow, h + 2 * grow), angle)).astype(np.float32)
        regions.append(TextRegion(_clockwise(quad), score))
    return sorted(regions, key=lambda region: (round(float(region.quad[:, 1].min())), float(region.quad[:, 0].min())))


def _clockwise(quad: Quad) -> Quad:
    """Corners from the top left, clockwise; the long side is the reading direction unless the region stands upright."""
    by_x = quad[np.argsort(quad[:, 0], kind="stable")]
    left, right = by_x[:2], by_x[2:]
    (top_left, bottom_left), (top_right, bottom_right) = (
        side[np.argsort(side[:, 1], kind="stable")] for side in (left, right)
    )
    return np.array([top_left, top_right, bottom_right, bottom_left], np.float32)
