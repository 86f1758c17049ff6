"""External data of an ONNX file: tensors that lie in other files, which must not lead out of the model's own folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx

from export.errors import DamagedModel, ExternalDataError


def parsed(path: Path) -> onnx.ModelProto:
    """Return a model without the data of its external tensors, whose places have been checked.

    Raises:
        DamagedModel: the file is no whole ONNX model.
        ExternalDataError: see `confined`.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's own error, which is another in each of its implementations
        raise DamagedModel(f"{path.name} is no whole ONNX model") from error
    if not model.graph.node:
        raise DamagedModel(f"{path.name} holds no graph")
    confined(model, path.parent)
    return model


def confined(model: onnx.ModelProto, folder: Path) -> None:
    """Check that every tensor's data lies in the model itself, or in a plain file inside of `folder`.

    Raises:
        ExternalDataError: a location is absolute, leads out of the folder, over a link, or to no file.
    """
    inside = folder.resolve()
    for tensor in _tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        place = folder / location
        plain = location and not Path(location).is_absolute() and ".." not in Path(location).parts
        if not plain or place.is_symlink() or not place.resolve().is_relative_to(inside):
            raise ExternalDataError(f"tensor {tensor.name!r} lies outside of the model's folder, at {location!r}")
        if not place.is_file():
            raise ExternalDataError(f"tensor {tensor.name!r} lies in {location!r}, which is no file")


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)
    for training in model.training_info:
        yield from _of_graph(training.initialization)
        yield from _of_graph(training.algorithm)


def _of_graph(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: list[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for graph in (attribute.g, *attribute.graphs):
                yield from _of_graph(graph)
