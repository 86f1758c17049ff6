"""all-MiniLM-L6-v2: token ids -> unit vector, with mean pooling and the L2 norm inside.

There is no input for the mask: id 0 is the vocabulary's padding, so the ids say it themselves. A text's vector then
depends on the text alone, however far it is padded.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from torch.nn import functional

from export.errors import BuildError
from export.graph import BATCH, Graph, l2_normalised
from export.samples import Samples
from export.sentences import LENGTHS, OTHERS, PADDING, SENTENCES, Weights, member, padded, token_ids, weights
from export.spec import Evaluate, Files
from export.specs.text_embedding import SPEC

METHOD = (
    "the network written anew with torch's own functions (embedding, layer norm, attention, gelu) from the same "
    "weights, each text without its padding; sentences of up to 128 tokens"
)
_LAYERS, _WIDTH, _HEADS = 6, 384, 12
_EPSILON = 1e-12
_CONFIG = {
    "hidden_size": _WIDTH,
    "num_hidden_layers": _LAYERS,
    "num_attention_heads": _HEADS,
    "hidden_act": "gelu",
    "layer_norm_eps": _EPSILON,
    "pad_token_id": PADDING,
}
_FAR = -1e9
"""Added to the logit of a padding token: its weight is exactly 0."""


def build(files: Files) -> onnx.ModelProto:
    """Write the network; batch and length stay dynamic. Raises BuildError for another architecture."""
    _check_config(files)
    return _Writer(weights(files)).model()


def labels(files: Files) -> tuple[str, ...]:
    """Return none: the vector has no classes."""
    return ()


def tokenizer(files: Files) -> bytes:
    """Return the tokenizer that the weights were trained with."""
    return member(files, "tokenizer.json")


def golden(files: Files) -> list[NDArray[np.int32]]:
    """Return sentences at every length that is asked for, one per batch."""
    encoded = [token_ids(files, sentence) for sentence in SENTENCES]
    return [padded(ids, length) for ids in encoded for length in LENGTHS if len(ids) <= length]


def samples(files: Files) -> Samples:
    """Return the texts of `sentences.OTHERS`, half of them for each purpose."""
    rows = [padded(ids, min(n for n in LENGTHS if len(ids) <= n)) for ids in (token_ids(files, t) for t in OTHERS)]
    return Samples(rows[::2], rows[1::2])


def reference(files: Files) -> Evaluate:
    """Return the evaluation of single texts without their padding by torch's functions."""
    tensors = {name: torch.from_numpy(value) for name, value in weights(files).items()}

    def evaluate(batch: NDArray[Any]) -> dict[str, NDArray[Any]]:
        with torch.no_grad():
            rows = [_vector(tensors, torch.from_numpy(row[row != PADDING].astype(np.int64))) for row in batch]
        return {"vector": torch.stack(rows).numpy()}

    return evaluate


def _vector(tensors: dict[str, torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
    def linear(name: str, value: torch.Tensor) -> torch.Tensor:
        return functional.linear(value, tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def norm(name: str, value: torch.Tensor) -> torch.Tensor:
        name += ".LayerNorm"
        return functional.layer_norm(value, (_WIDTH,), tensors[f"{name}.weight"], tensors[f"{name}.bias"], _EPSILON)

    def heads(value: torch.Tensor) -> torch.Tensor:
        return value.view(len(ids), _HEADS, -1).transpose(0, 1)

    state = functional.embedding(ids, tensors["embeddings.word_embeddings.weight"])
    state = state + tensors["embeddings.position_embeddings.weight"][: len(ids)]
    state = norm("embeddings", state + tensors["embeddings.token_type_embeddings.weight"][0])
    for layer in range(_LAYERS):
        at = f"encoder.layer.{layer}"
        query, key, value = (heads(linear(f"{at}.attention.self.{n}", state)) for n in ("query", "key", "value"))
        seen = functional.scaled_dot_product_attention(query, key, value).transpose(0, 1).reshape(len(ids), _WIDTH)
        state = norm(f"{at}.attention.output", linear(f"{at}.attention.output.dense", seen) + state)
        inner = functional.gelu(linear(f"{at}.intermediate.dense", state))
        state = norm(f"{at}.output", linear(f"{at}.output.dense", inner) + state)
    return functional.normalize(state.mean(dim=0), dim=0)


def _check_config(files: Files) -> None:
    config, pooling = json.loads(member(files, "config.json")), json.loads(member(files, "1_Pooling/config.json"))
    differs = {key: config.get(key) for key, wanted in _CONFIG.items() if config.get(key) != wanted}
    if differs or not pooling["pooling_mode_mean_tokens"]:
        raise BuildError(f"{SPEC.name}: another network than expected: {differs or pooling}")


class _Writer:
    """Writes the network into a graph; query, key and value of a layer are one product, scaled beforehand."""

    def __init__(self, tensors: Weights) -> None:
        self._weights = tensors
        self._graph = Graph(SPEC.name)

    def model(self) -> onnx.ModelProto:
        graph = self._graph
        tokens = graph.input("tokens", "INT32", [BATCH, "length"])
        padding = graph.op("Equal", tokens, graph.const(PADDING, np.int32))
        present = graph.op("Unsqueeze", graph.op("Cast", graph.op("Not", padding), to=TensorProto.FLOAT), graph.ints(2))
        far = graph.op("Mul", graph.op("Cast", padding, to=TensorProto.FLOAT), graph.floats(_FAR))
        far = graph.op("Unsqueeze", far, graph.ints(1, 2))
        state = self._embedded(tokens)
        for layer in range(_LAYERS):
            state = self._layer(f"encoder.layer.{layer}", state, far)
        total = graph.op("ReduceSum", graph.op("Mul", state, present), graph.ints(1), keepdims=0)
        count = graph.op("Max", graph.op("ReduceSum", present, graph.ints(1), keepdims=0), graph.floats(1.0))
        vector = l2_normalised(graph, graph.op("Div", total, count))
        graph.output("vector", "FP32", [BATCH, _WIDTH], vector)
        return graph.model()

    def _embedded(self, tokens: str) -> str:
        graph, found = self._graph, self._weights
        # Every token is of the first type, which therefore belongs to the position.
        places = found["embeddings.position_embeddings.weight"] + found["embeddings.token_type_embeddings.weight"][0]
        length = graph.op("Slice", graph.op("Shape", tokens), graph.ints(1), graph.ints(2))
        here = graph.op("Slice", graph.floats(places), graph.ints(0), length, graph.ints(0))
        words = graph.op("Gather", graph.floats(found["embeddings.word_embeddings.weight"]), tokens, axis=0)
        return self._norm("embeddings", graph.op("Add", words, here))

    def _layer(self, at: str, state: str, far: str) -> str:
        seen = self._attended(f"{at}.attention.self", state, far)
        state = self._norm(
            f"{at}.attention.output", self._graph.op("Add", self._linear(f"{at}.attention.output.dense", seen), state)
        )
        inner = self._gelu(self._linear(f"{at}.intermediate.dense", state))
        return self._norm(f"{at}.output", self._graph.op("Add", self._linear(f"{at}.output.dense", inner), state))

    def _attended(self, at: str, state: str, far: str) -> str:
        graph = self._graph
        scales = {"query": (_WIDTH // _HEADS) ** -0.5, "key": 1.0, "value": 1.0}
        weight = np.concatenate([self._weights[f"{at}.{n}.weight"].T * s for n, s in scales.items()], axis=1)
        offset = np.concatenate([self._weights[f"{at}.{n}.bias"] * s for n, s in scales.items()])
        product = graph.op("Add", graph.op("MatMul", state, graph.floats(weight)), graph.floats(offset))
        parts = graph.op("Reshape", product, graph.ints(0, 0, 3, _HEADS, _WIDTH // _HEADS))
        parts = graph.op("Transpose", parts, perm=[2, 0, 3, 1, 4])
        query, key, value = (graph.op("Gather", parts, graph.const(n, np.int64), axis=0) for n in range(3))
        logits = graph.op("MatMul", query, graph.op("Transpose", key, perm=[0, 1, 3, 2]))
        shares = graph.op("Softmax", graph.op("Add", logits, far), axis=-1)
        seen = graph.op("Transpose", graph.op("MatMul", shares, value), perm=[0, 2, 1, 3])
        return graph.op("Reshape", seen, graph.ints(0, 0, _WIDTH))

    def _linear(self, name: str, value: str) -> str:
        product = self._graph.op("MatMul", value, self._graph.floats(self._weights[f"{name}.weight"].T))
        return self._graph.op("Add", product, self._graph.floats(self._weights[f"{name}.bias"]))

    def _gelu(self, value: str) -> str:
        graph = self._graph
        turned = graph.op("Erf", graph.op("Div", value, graph.floats(np.sqrt(2.0))))
        return graph.op("Mul", graph.op("Mul", value, graph.op("Add", turned, graph.floats(1.0))), graph.floats(0.5))

    def _norm(self, name: str, value: str) -> str:
        gain, offset = (self._weights[f"{name}.LayerNorm.{part}"] for part in ("weight", "bias"))
        return self._graph.op(
            "LayerNormalization", value, self._graph.floats(gain), self._graph.floats(offset), axis=-1, epsilon=_EPSILON
        )
