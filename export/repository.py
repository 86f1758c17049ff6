"""The committed half of a model's folder: config.pbtxt, written through Triton's own message, and labels.txt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from export.spec import ModelSpec, TensorSpec

CONFIG_FILE = "config.pbtxt"
LABELS_FILE = "labels.txt"
PARAMETERS = {"intra_op_thread_count": "1", "inter_op_thread_count": "1"}
"""One thread per instance: two instances of one thread beat one spinning instance beside a decoder by 45 %."""
FREE_SIZES = {"enable_mem_pattern": "0"}
"""Where sizes follow from the request, ONNX Runtime's plan of memory serves one of them alone, and takes a block anew for each run: `shots`
took 540 MB in place of 340, and up to a tenth of its time to fill pages."""

INT8_PARAMETERS = {"session.x64quantprecision": "1"}
"""On a CPU without VNNI, products of bytes saturate unless ONNX Runtime is told to take a slower way."""


def config_text(spec: ModelSpec) -> str:
    """Return config.pbtxt for a spec."""
    return text_of(config_message(spec))


def text_of(config: Any) -> str:
    """Return a ModelConfig as config.pbtxt has it."""
    from google.protobuf import text_format

    return str(text_format.MessageToString(config))


def config_message(spec: ModelSpec) -> Any:
    """Return Triton's ModelConfig for a spec.

    There is no dynamic batching: requests come as full as their frames allow, and merging them would only make some wait for others.
    The version is named, so that a further one in the folder is not served before somebody says so.
    """
    from tritonclient.grpc import model_config_pb2

    config = model_config_pb2.ModelConfig(name=spec.name, backend="onnxruntime", max_batch_size=spec.max_batch_size)
    for tensor in spec.inputs:
        config.input.append(model_config_pb2.ModelInput(**_fields(tensor, model_config_pb2)))
    labelled = _labelled(spec)
    for tensor in spec.outputs:
        fields = _fields(tensor, model_config_pb2)
        if tensor.name == labelled:
            fields["label_filename"] = LABELS_FILE
        config.output.append(model_config_pb2.ModelOutput(**fields))
    config.instance_group.add(count=spec.instances, kind=model_config_pb2.ModelInstanceGroup.KIND_CPU)
    config.version_policy.specific.versions.append(served(spec))
    free = any(-1 in tensor.dims for tensor in spec.inputs)
    for key, value in (PARAMETERS | (FREE_SIZES if free else {}) | (INT8_PARAMETERS if spec.int8 else {})).items():
        config.parameters[key].string_value = value
    return config


def on_gpu(config: Any, count: int) -> None:
    """Have a ModelConfig's instances run on a GPU: `count` on each that Triton sees."""
    from tritonclient.grpc import model_config_pb2

    del config.instance_group[:]
    config.instance_group.add(count=count, kind=model_config_pb2.ModelInstanceGroup.KIND_GPU)


def served(spec: ModelSpec) -> int:
    """Return the version that the configuration names."""
    return spec.int8.version if spec.int8 and spec.default == "int8" else spec.version


def _labelled(spec: ModelSpec) -> str | None:
    """The output that labels.txt explains: the indices where there are some, else the scores, one per label."""
    names = {t.name for t in spec.outputs}
    found = (n for n in ("classes", "indices", "scores") if n in names)
    return next(found, None) if spec.labels else None


def _fields(tensor: TensorSpec, messages: Any) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "data_type": getattr(messages, f"TYPE_{tensor.dtype}"),
        "dims": list(tensor.dims),
    }


def write_config(repository: Path, spec: ModelSpec) -> None:
    """Write model_repository/NAME/config.pbtxt."""
    folder = repository / spec.name
    folder.mkdir(parents=True, exist_ok=True)
    write_if_changed(folder / CONFIG_FILE, config_text(spec))


def write_labels(repository: Path, spec: ModelSpec, labels: tuple[str, ...]) -> None:
    """Write model_repository/NAME/labels.txt, one label per line in index order."""
    broken = [label for label in labels if "\n" in label or "\r" in label or not label]
    if broken:
        raise ValueError(f"{spec.name}: labels must be non-empty single lines, got {broken[:5]}")
    folder = repository / spec.name
    folder.mkdir(parents=True, exist_ok=True)
    write_if_changed(folder / LABELS_FILE, _lines(labels))


def has_other_labels(repository: Path, spec: ModelSpec, labels: tuple[str, ...]) -> bool:
    """Whether there is a labels.txt that says otherwise: all versions of a model share it."""
    path = repository / spec.name / LABELS_FILE
    return path.exists() and path.read_bytes() != _lines(labels).encode()


def _lines(labels: tuple[str, ...]) -> str:
    return "".join(label + "\n" for label in labels)


def write_if_changed(path: Path, text: str) -> None:
    """Write a text file, and leave one that holds that text alone."""
    if not path.exists() or path.read_bytes() != text.encode():
        path.write_bytes(text.encode())
