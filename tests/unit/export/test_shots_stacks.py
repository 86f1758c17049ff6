"""The two-dimensional stacks compute what the published three-dimensional ones do, for any number of frames."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from export.builders.shots_stacks import (
    DILATIONS,
    Branch,
    Weights,
    branches,
    by_frame,
    cleaned,
    frame_stack,
    tall_means,
    tall_pixels,
    tall_stack,
)
from export.graph import Graph

HEIGHT, WIDTH, FILTERS = 11, 8, 4


def random_weights() -> Weights:
    rng = np.random.default_rng(5)
    weights: Weights = {}

    def put(name: str, values: NDArray[np.float64]) -> None:
        weights[name] = values.astype(np.float32)

    for stack, block, channels in ((0, 0, 3), (0, 1, 4 * FILTERS), (1, 0, 4 * FILTERS), (1, 1, 4 * FILTERS)):
        prefix = f"SDDCNN.{stack}.DDCNN.{block}"
        for dilation in DILATIONS:
            layers = f"{prefix}.Conv3D_{dilation}.layers"
            put(f"{layers}.0.weight", rng.normal(0, 0.3, (2 * FILTERS, channels, 1, 3, 3)))
            put(f"{layers}.1.weight", rng.normal(0, 0.3, (FILTERS, 2 * FILTERS, 3, 1, 1)))
        for name, values in (
            ("weight", rng.uniform(0.5, 2, 4 * FILTERS)),
            ("bias", rng.normal(0, 1, 4 * FILTERS)),
        ):
            put(f"{prefix}.bn.{name}", values)
        put(f"{prefix}.bn.running_mean", rng.normal(0, 1, 4 * FILTERS))
        put(f"{prefix}.bn.running_var", rng.uniform(0.5, 2, 4 * FILTERS))
    return weights


def published(weights: Weights, stack: int, x: torch.Tensor) -> torch.Tensor:
    """One stack as published: x [1, c, t, h, w] through three-dimensional convolutions."""
    tensors = {name: torch.from_numpy(values) for name, values in weights.items()}
    shortcut: torch.Tensor | None = None
    for block in range(2):
        prefix = f"SDDCNN.{stack}.DDCNN.{block}"
        parts = []
        for d in DILATIONS:
            seen = functional.conv3d(x, tensors[f"{prefix}.Conv3D_{d}.layers.0.weight"], padding=(0, 1, 1))
            temporal = tensors[f"{prefix}.Conv3D_{d}.layers.1.weight"]
            parts.append(functional.conv3d(seen, temporal, padding=(d, 0, 0), dilation=(d, 1, 1)))
        norm = [tensors[f"{prefix}.bn.{n}"] for n in ("running_mean", "running_var", "weight", "bias")]
        x = torch.relu(functional.batch_norm(torch.cat(parts, dim=1), *norm, eps=1e-3))
        shortcut = x if shortcut is None else shortcut
    return functional.avg_pool3d(x + shortcut, (1, 2, 2))


def both(weights: Weights, stack: int, divisor: float) -> tuple[list[Branch], list[Branch]]:
    return branches(weights, stack, 0, divisor), branches(weights, stack, 1)


def stacks(weights: Weights, second_layout: str) -> ort.InferenceSession:
    """Two stacks, the second in either layout, for any number of frames."""
    graph = Graph("stacks")
    frames = graph.input("frames", "UINT8", ["count", HEIGHT, WIDTH, 3])
    count = graph.op("Shape", frames, start=0, end=1)
    first = tall_stack(graph, both(weights, 0, 255.0), tall_pixels(graph, frames, HEIGHT, WIDTH), count)
    if second_layout == "tall":
        result = by_frame(graph, tall_stack(graph, both(weights, 1, 1.0), cleaned(graph, first, count), count))
    else:
        result = frame_stack(graph, both(weights, 1, 1.0), by_frame(graph, first), first.height, first.width)
    graph.output("features", "FP32", ["count", 4 * FILTERS, HEIGHT // 4, WIDTH // 4], result)
    graph.output("means", "FP32", ["count", 4 * FILTERS], tall_means(graph, first))
    return ort.InferenceSession(graph.model().SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("second_layout", ["tall", "by frame"])
def test_two_stacks_agree_with_three_dimensional_convolutions(second_layout: str) -> None:
    weights = random_weights()
    opened = stacks(weights, second_layout)
    for count in (1, 12, 19):
        pixels = np.random.default_rng(count).integers(0, 256, (count, HEIGHT, WIDTH, 3)).astype(np.uint8)
        features, means = opened.run(None, {"frames": pixels})
        with torch.no_grad():
            x = torch.from_numpy(pixels).permute(3, 0, 1, 2)[None].float() / 255
            wanted_first = published(weights, 0, x)
            wanted = published(weights, 1, wanted_first)
        assert float(wanted.std()) > 0.1
        np.testing.assert_allclose(means, wanted_first.mean(dim=(3, 4))[0].T.numpy(), atol=2e-4)
        np.testing.assert_allclose(features, wanted[0].permute(1, 0, 2, 3).numpy(), atol=2e-3, rtol=1e-4)
