"""The script that everybody writes first: decode, resize, collect eight, ask ONNX Runtime, with defaults everywhere.

python -m tests.benchmarks.peers.naive CLIP    # prints the run as JSON; imports and loading not counted
"""

from __future__ import annotations

import sys
from pathlib import Path

import av
import numpy as np
import onnxruntime as ort

from orchestrator.settings import Settings
from tests.benchmarks.peers.common import measured
from tests.support.served import served


def main(clip: str) -> None:
    """Label every frame of ``clip``."""
    model = ort.InferenceSession(
        str(served(Settings().model_repository, "labels") / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    model.run(None, {"frames": np.zeros((8, 224, 224, 3), np.uint8)})
    measured(lambda: label(clip, model))


def label(clip: str, model: ort.InferenceSession) -> int:
    """One step after the other; returns the number of answers."""
    answers, batch = 0, []
    with av.open(clip) as container:
        for frame in container.decode(video=0):
            batch.append(frame.reformat(224, 224, "rgb24").to_ndarray())
            if len(batch) == 8:
                answers += len(model.run(None, {"frames": np.stack(batch)})[0])
                batch = []
    if batch:
        used = len(batch)
        batch += [np.zeros_like(batch[0])] * (8 - used)
        answers += len(model.run(None, {"frames": np.stack(batch)})[0][:used])
    return answers


if __name__ == "__main__":
    main(str(Path(sys.argv[1]).resolve()))
