"""text_detection, text_orientation, text_recognition: on-screen text in three steps."""

from __future__ import annotations

from export.spec import Agreement, Int8, ModelSpec, TensorSpec, WeightFiles
from export.specs.packages import RAPIDOCR, SCIKIT_VIDEO

_BESIDE_PRODUCTS = (
    *("Add", "Div", "Erf", "HardSigmoid", "Mul", "Pow", "ReduceMean", "Reshape"),
    *("Sigmoid", "Slice", "Softmax", "Sqrt", "Squeeze", "Sub", "Transpose"),
)
"""What recognition has between its convolutions and products. On bytes it costs a third of the characters and saves no time."""

DETECTION = ModelSpec(
    name="text_detection",
    version=1,
    architecture="PP-OCRv6 small detection (DB)",
    inputs=(TensorSpec("frames", "UINT8", (768, 1280, 3)),),
    outputs=(TensorSpec("probability", "UINT8", (384, 640), 1.0),),
    max_batch_size=1,
    sources=(RAPIDOCR, SCIKIT_VIDEO),
    weights=WeightFiles(RAPIDOCR.package, "rapidocr/models", ("PP-OCRv6_det_small.onnx",)),
    licence="Apache-2.0",
    builder="export.builders.text_detection",
    agreement=Agreement("map", (("f1", 0.95),)),
    int8=Int8(),
    recipe=("export.shipped",),
)

ORIENTATION = ModelSpec(
    name="text_orientation",
    version=1,
    architecture="PP-OCR mobile v2.0 text line orientation",
    inputs=(TensorSpec("frames", "UINT8", (48, 192, 3)),),
    outputs=(TensorSpec("scores", "FP32", (2,), 1e-4),),
    max_batch_size=8,
    sources=(RAPIDOCR, SCIKIT_VIDEO),
    weights=WeightFiles(RAPIDOCR.package, "rapidocr/models", ("ch_ppocr_mobile_v2.0_cls_mobile.onnx",)),
    licence="Apache-2.0",
    builder="export.builders.text_orientation",
    agreement=Agreement("scores", (("top1", 0.97),)),
    recipe=("export.shipped",),
    labels=True,
)

RECOGNITION = ModelSpec(
    name="text_recognition",
    version=1,
    architecture="PP-OCRv6 small recognition (CTC)",
    inputs=(TensorSpec("frames", "UINT8", (48, -1, 3)),),
    outputs=(TensorSpec("indices", "INT32", (-1,)), TensorSpec("confidences", "FP32", (-1,), 1e-4)),
    max_batch_size=1,
    sources=(RAPIDOCR, SCIKIT_VIDEO),
    weights=WeightFiles(RAPIDOCR.package, "rapidocr/models", ("PP-OCRv6_rec_small.onnx",)),
    licence="Apache-2.0",
    builder="export.builders.text_recognition",
    agreement=Agreement("text", (("characters", 0.98),)),
    int8=Int8(keep=_BESIDE_PRODUCTS),
    recipe=("export.shipped",),
    labels=True,
)
