"""One row of a batch between other neighbours, and at other places."""

from __future__ import annotations

import numpy as np

from export.spec import Evaluate, ModelSpec


def answers_of_one_row(evaluate: Evaluate, spec: ModelSpec, batch: np.ndarray) -> set[bytes]:
    """Return the different answers, byte for byte, that the last row of a full batch gets at every place of a batch,
    between noise, black and its own neighbours: one where a row's answer is its own.
    """
    rng = np.random.default_rng(3)
    frame = batch[-1]
    answers = set()
    for row in range(spec.max_batch_size):
        for neighbours in (
            rng.integers(0, 256, batch.shape).astype(batch.dtype),
            np.zeros_like(batch),
            batch[::-1],
        ):
            mixed = np.array(neighbours)
            mixed[row] = frame
            outputs = evaluate(mixed)
            answers.add(b"".join(outputs[o.name][row].tobytes() for o in spec.outputs))
    return answers
