"""Where a model's instances run: a repository's configs say CPU, and on a GPU they are loaded with another instance group.

So one repository serves both, and a machine needs no files of its own.
"""

from __future__ import annotations

from pathlib import Path

from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

from orchestrator.errors import SetupError

_PYTHON_BACKED = frozenset(("onnxruntime",))  # here; in NVIDIA's container it is a backend in C++


def on_gpu(repository: Path, model: str, ordinal: int) -> str:
    """The config of ``model`` as JSON, its instances on GPU ``ordinal``. Raises ``SetupError`` for a config that cannot be read.

    Inputs then arrive on the GPU, where Triton's Python backend would else copy them to the host first.
    """
    try:
        text = (repository / model / "config.pbtxt").read_text(encoding="utf-8")
        config = text_format.Parse(text, model_config_pb2.ModelConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise SetupError(f"the config of {model} cannot be read", model=model) from error
    groups = model_config_pb2.ModelInstanceGroup
    count = max((group.count for group in config.instance_group), default=1)
    del config.instance_group[:]
    config.instance_group.add(count=count, kind=groups.KIND_GPU, gpus=[ordinal])
    if config.backend in _PYTHON_BACKED:
        config.parameters["FORCE_CPU_ONLY_INPUT_TENSORS"].string_value = "no"
    return str(json_format.MessageToJson(config, preserving_proto_field_name=True, indent=None))
