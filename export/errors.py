"""Why an export can fail.

ExportError
├── UnknownModelError       a name that no spec declares
├── FetchError              a package could not be fetched, or its bytes are not the pinned ones
├── WeightsError            a folder of a user's own weights lacks files, or holds others
├── NotOffered              a precision that a model is not offered at
├── BuildError              the weights or graph do not have the form that the builder expects
│   ├── NetworkError        a graph that TensorRT does not take
│   └── EngineError         TensorRT refused to build an engine, or built another than was planned
├── ArchitectureError       a word that names no architecture of GPU
├── NoEngineError           a version without an engine for this architecture of GPU
├── MissingError            something that the step needs is not on this machine: says what to install
├── IntegrityError          a version folder is not what its manifest says, or has none
│   ├── TamperedFile        a file is missing, foreign, or has other bytes
│   ├── DamagedModel        the model is no whole ONNX file
│   └── ExternalDataError   a tensor lies outside of the model's folder
└── ParityError             the exported graph differs from its reference
    ├── OutputsMismatch     other outputs than the spec declares
    ├── ShapeMismatch       an output of another shape or element type
    ├── ToleranceExceeded   an output further from the reference than the spec allows
    └── AccuracyTooLow      another precision's answers agree with full precision's less than the spec demands
"""

from __future__ import annotations


class ExportError(Exception):
    """The base of everything that this package raises on purpose."""


class UnknownModelError(ExportError):
    """A model name that the registry does not hold."""


class FetchError(ExportError):
    """A package could not be fetched, or its digest is not the pinned one."""


class WeightsError(ExportError):
    """A folder of own weights that does not hold what the model is made of."""


class NotOffered(ExportError):
    """A precision at which a model would not pay, or not be accurate enough."""


class BuildError(ExportError):
    """Weights or a graph that a builder cannot turn into its model."""


class NetworkError(BuildError):
    """A graph that TensorRT does not take; names the nodes."""


class EngineError(BuildError):
    """TensorRT refused to build an engine, or built another than was planned."""


class ArchitectureError(ExportError):
    """A word that names no architecture of GPU."""


class NoEngineError(ExportError):
    """A version that holds no engine for this architecture of GPU; names those that it has."""


class MissingError(ExportError):
    """A package, a driver or a GPU that the step needs is not on this machine; says what to install."""


class IntegrityError(ExportError):
    """A version folder is not what its manifest says, or has none."""


class TamperedFile(IntegrityError):
    """A file of a version folder is missing, foreign, or has other bytes than at export."""


class DamagedModel(IntegrityError):
    """A model file that cannot be read as ONNX."""


class ExternalDataError(IntegrityError):
    """A tensor whose data lies outside of the model's folder, or nowhere."""


class ParityError(ExportError):
    """The exported graph and its reference differ."""


class OutputsMismatch(ParityError):
    """The set of outputs differs from the spec's."""


class ShapeMismatch(ParityError):
    """An output has another shape or element type than the reference or the spec."""


class ToleranceExceeded(ParityError):
    """An output is further from the reference than the spec's tolerance."""


class AccuracyTooLow(ParityError):
    """A version of another precision lies below a floor of its spec."""
