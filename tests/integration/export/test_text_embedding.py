"""The exported text model, fed as the service feeds it: near texts are near, and padding changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.adapters.search.tokens import LENGTHS, PADDING, Tokens
from orchestrator.pipeline.searching import MODEL, Embedder
from tests.support.ort_inference import OrtInference


async def embedder(repository: Path) -> Embedder:
    inference = OrtInference(repository, workers=1)
    await inference.ready([MODEL])
    return Embedder(inference, Tokens(repository))


async def test_near_texts_are_near(repository: Path) -> None:
    made = await embedder(repository)
    texts = ("person, bicycle. mountain bike", "someone cycling down the street", "a cup of coffee on a table", "")
    vectors = np.stack([await made.vector(text) for text in texts])
    assert vectors.shape == (4, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    cosines = vectors @ vectors.T
    assert cosines[0, 1] > 0.4 > 0.25 > cosines[0, 2]


async def test_padding_changes_nothing(repository: Path) -> None:
    made = await embedder(repository)
    tokens = Tokens(repository)
    inference = OrtInference(repository, workers=1)
    await inference.ready([MODEL])
    text = "BREAKING NEWS: RIVER FERRY"
    short: NDArray[np.int32] = tokens(inference.version(MODEL), text)
    longest = np.full((1, LENGTHS[-1]), PADDING, np.int32)
    longest[:, : short.shape[1]] = short
    padded = (await inference.infer(MODEL, {"tokens": longest}))["vector"][0]
    assert np.abs(padded - await made.vector(text)).max() < 1e-6
