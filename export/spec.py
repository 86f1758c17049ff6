"""The declaration of one model: plain frozen values that check themselves and import nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from export.samples import Samples

DataType = Literal["UINT8", "INT32", "FP32"]
Precision = Literal["fp32", "fp16", "int8"]
Measure = Literal["classes", "scores", "boxes", "map", "text", "cuts", "vector"]
"""What kind of answer a model gives, and so how two are compared; see `export.accuracy`."""
Target = Literal["onnx", "tensorrt"]
"""What a server reads: an ONNX file, or TensorRT engines that were built of it."""
Files = Mapping[str, Path]
"""Unpacked source folders by package name."""
Evaluate = Callable[["NDArray[Any]"], "dict[str, NDArray[Any]]"]
"""A batch of the only input (frames, tokens) -> outputs by name, each with the batch dimension."""

_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model.

    dims are Triton's: without the batch dimension, -1 where the size follows from the request.
    tolerance (outputs only) is the largest absolute difference from the reference that the export accepts; INT32
    outputs are indices and must be equal.
    """

    name: str
    dtype: DataType
    dims: tuple[int, ...]
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise ValueError(f"tensor name {self.name!r} is not lower snake case")
        if not self.dims or any(d != -1 and d < 1 for d in self.dims):
            raise ValueError(f"dims {self.dims} of {self.name!r}: each must be positive, or -1 for a free size")
        if self.tolerance < 0 or (self.dtype == "INT32" and self.tolerance):
            raise ValueError(f"tolerance {self.tolerance} of {self.name!r}: at least 0, and 0 for INT32 indices")


@dataclass(frozen=True)
class Source:
    """One package file of a public registry, pinned by the SHA-256 of its bytes."""

    registry: Literal["pypi", "npm"]
    package: str
    version: str
    file: str
    sha256: str
    licence: str

    def __post_init__(self) -> None:
        if not _SHA256.match(self.sha256):
            raise ValueError(f"sha256 {self.sha256!r} of {self.package} is not 64 lower-case hex digits")
        suffix = ".whl" if self.registry == "pypi" else ".tgz"
        if not self.file.endswith(suffix):
            raise ValueError(f"{self.registry} file {self.file!r} must end in {suffix}")


@dataclass(frozen=True)
class WeightFiles:
    """The files of one of a spec's packages that a user's own may take the place of: names below `folder` of it."""

    package: str
    folder: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Int8:
    """How a model is quantised.

    Attributes:
        version: the number of its int8 version.
        keep: operators of the network that stay in float.
        ranges: how the range of an activation follows from calibration: its extremes, or the middle 99.999 %.
    """

    version: int = 2
    keep: tuple[str, ...] = ()
    ranges: Literal["MinMax", "Percentile"] = "MinMax"


@dataclass(frozen=True)
class Agreement:
    """How another precision's answers are compared with full precision's, and what they must reach at least."""

    measure: Measure
    floors: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class ModelSpec:
    """Everything about one model that is known before its weights are read.

    Attributes:
        name: the Triton model name, which is the capability.
        version: the number of the version at full precision, which everything else is made from and compared with.
        architecture: the name that people know the network by.
        inputs, outputs: the tensors of the contract. The first dimension, the batch, is left out.
        max_batch_size: the most rows of a request.
        instances: model instances on a CPU.
        sources: the packages that weights, reference code and labels come from.
        weights: which files a user's own weights replace.
        licence: SPDX expression of the exported model.
        agreement: what a version of another precision must reach.
        int8: how it is quantised; None where that does not pay, or costs too much accuracy (ops/performance.md).
        default: the precision that is served until somebody says otherwise.
        builder: module that has the functions of ModelBuilder. It may import torch and onnx; the spec may not.
        recipe: further modules whose text decides what the builder makes.
        labels: whether labels.txt is written next to config.pbtxt.
    """

    name: str
    version: int
    architecture: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int
    sources: tuple[Source, ...]
    weights: WeightFiles
    licence: str
    builder: str
    agreement: Agreement
    recipe: tuple[str, ...] = ()
    instances: int = 1
    labels: bool = False
    int8: Int8 | None = None
    default: Literal["fp32", "int8"] = "fp32"

    def __post_init__(self) -> None:
        if not _NAME.match(self.name):
            raise ValueError(f"model name {self.name!r} is not lower snake case")
        if min(self.version, self.max_batch_size, self.instances) < 1:
            raise ValueError(f"{self.name}: version, max_batch_size and instances must be at least 1")
        if not self.inputs or not self.outputs or not self.sources:
            raise ValueError(f"{self.name}: needs at least one input, output and source")
        names = [t.name for t in (*self.inputs, *self.outputs)]
        if len(set(names)) != len(names):
            raise ValueError(f"{self.name}: tensor names repeat: {names}")
        if self.default == "int8" and self.int8 is None:
            raise ValueError(f"{self.name}: int8 cannot be the default where it is not offered")
        if self.weights.package not in {s.package for s in self.sources}:
            raise ValueError(f"{self.name}: weights of {self.weights.package!r}, which is no source of it")


@dataclass(frozen=True)
class TextModelSpec(ModelSpec):
    """A model whose input are the tokens of a text: its version folder also holds the tokenizer that makes them."""


class ModelBuilder(Protocol):
    """What a module below `builders` offers (modules implement this protocol by their functions)."""

    METHOD: str
    """How parity is measured: what the reference is, and what it is independent of."""

    def build(self, files: Files) -> onnx.ModelProto:
        """Return the fused graph; raise BuildError when the weights are not as expected."""

    def labels(self, files: Files) -> tuple[str, ...]:
        """Return the lines of labels.txt in index order; empty when the model has none."""

    def golden(self, files: Files) -> list[NDArray[Any]]:
        """Return the batches that parity is measured on: frames, or the tokens of texts."""

    def samples(self, files: Files) -> Samples:
        """Return real inputs for calibration and to measure accuracy on; no frame of them is golden."""

    def reference(self, files: Files) -> Evaluate:
        """Return the evaluation that the graph must agree with."""


class TextModelBuilder(ModelBuilder, Protocol):
    """What the builder of a TextModelSpec offers."""

    def tokenizer(self, files: Files) -> bytes:
        """Return tokenizer.json, as the library `tokenizers` reads it."""
