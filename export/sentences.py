"""The sentence model's package: its files, its weights, and the golden sentences."""

from __future__ import annotations

import json
import zipfile

import numpy as np
from numpy.typing import NDArray

from export.errors import BuildError
from export.spec import Files
from export.specs.text_embedding import WEIGHTS

Weights = dict[str, NDArray[np.float32]]

PADDING = 0
"""Id of [PAD]."""
LENGTHS = (16, 32, 64, 128)
"""Lengths that a request may have, in tokens; a text takes the shortest that holds it."""
SENTENCES = (
    "bicycle",
    "a man riding a bicycle",
    "person, car. traffic light, street sign, mountain bike",
    "BREAKING NEWS: RIVER FERRY",
    "Zürich café 北京 5:30 (live) – naïve?",
    "someone is cycling down the street while two cars and a bus wait at the traffic light; a dog sits on the pavement, "
    "and behind it a shop window says CALL 555 0134 NOW and EVERYTHING MUST GO",
    "Shots, labels, objects, on-screen text, faces and moderation scores of every segment make up its document. " * 4,
)
OTHERS = (
    "sports car",
    "a dog runs across a wet meadow",
    "weather report: rain in the north, sun in the south",
    "Golden Gate Bridge",
    "two people talk at a table in a kitchen while the radio plays",
    "GATE B17 BOARDING",
    "espresso",
    "crowd in a stadium at night",
    "An animated rabbit looks out of its burrow and yawns",
    "tabby cat, sofa, window shade",
    "breaking news",
    "keyboard and mouse on a desk",
    "the driver turns his head and speaks to the camera",
    "police car. ambulance, street sign",
    "SALE 50% OFF",
    "a red bus passes",
    "A long shot of a river valley with mountains behind it; later a train crosses a stone bridge and leaves the picture on the left.",
    "soccer ball, goalkeeper, grass",
    "No smoking",
    "children play with a kite on the beach",
    "lamp",
    "interview with subtitles",
    "Le train de 8 h 15 est en retard",
    "a chef cuts vegetables on a wooden board, close-up",
)
"""Further texts, of the kinds that segments and searches have."""


def member(files: Files, name: str) -> bytes:
    """Return a file of the model: from its folder where a user's own lies there, else from the archive that the package
    carries. BuildError when there is none.
    """
    folder = files[WEIGHTS.package] / "all_minilm_l6_v2"
    archive = folder / "model.zip"
    try:
        if (folder / "model").is_dir():
            return (folder / "model" / name).read_bytes()
        with zipfile.ZipFile(archive) as opened:
            return opened.read(name)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise BuildError(f"{WEIGHTS.package} holds no {name}") from error


def weights(files: Files) -> Weights:
    """Return the FP32 tensors of the safetensors file: 8 bytes of length, a JSON header, the data."""
    data = member(files, "model.safetensors")
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] == "F32":
            first, last = (start + offset for offset in entry["data_offsets"])
            tensors[name] = np.frombuffer(data[first:last], "<f4").reshape(entry["shape"]).copy()
    return tensors


def token_ids(files: Files, text: str) -> list[int]:
    """Return the ids of a text, at most the longest length."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(member(files, "tokenizer.json").decode())
    tokenizer.no_padding()
    tokenizer.enable_truncation(LENGTHS[-1])
    return list(tokenizer.encode(text).ids)


def padded(ids: list[int], length: int) -> NDArray[np.int32]:
    """Return one row of ids [1, length], filled up with padding."""
    return np.array([ids + [PADDING] * (length - len(ids))], np.int32)
