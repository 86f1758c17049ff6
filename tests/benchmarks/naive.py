"""The script that everybody writes first: decode, resize, collect eight, ask ONNX Runtime, with defaults everywhere.

python -m tests.benchmarks.naive CLIP    # prints frames, wall and CPU seconds as JSON; imports and loading not counted
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import av
import numpy as np
import onnxruntime as ort

from orchestrator.settings import Settings


def main(clip: str) -> None:
    """Label every frame of ``clip``."""
    model = ort.InferenceSession(
        str(Settings().model_repository / "labels" / "1" / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    model.run(None, {"frames": np.zeros((8, 224, 224, 3), np.uint8)})
    wall, cpu = time.perf_counter(), time.process_time()
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
    result = {"frames": answers, "wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(str(Path(sys.argv[1]).resolve()))
