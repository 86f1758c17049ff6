"""As what a version is loaded: its config with Triton's name for it, on which device, and a folder of links to its files.

So one repository serves every machine, and versions side by side, without files of its own for them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from google.protobuf import json_format
from tritonclient.grpc import model_config_pb2

from orchestrator.adapters.triton.repository import Repository

_PYTHON_BACKED = frozenset(("onnxruntime",))  # here; in NVIDIA's container it is a backend in C++


def config(repository: Repository, model: str, version: int, name: str, gpu: int | None = None) -> str:
    """The config, as JSON, of ``version`` alone under Triton's ``name``; its instances on GPU number ``gpu``, or where the config says.
    Raises ``SetupError`` for a config that cannot be read.
    """
    found = repository.config(model, version)
    found.name = name
    found.version_policy.specific.versions[:] = [version]
    if gpu is not None:
        _move(found, gpu)
    return str(json_format.MessageToJson(found, preserving_proto_field_name=True, indent=None))


def _move(config: model_config_pb2.ModelConfig, gpu: int) -> None:
    """Inputs then arrive on the GPU, where Triton's Python backend would else copy them to the host first. What the container's
    config warms up is left out: the supervisor and the examination of a version see to that here.
    """
    groups = model_config_pb2.ModelInstanceGroup
    count = max((group.count for group in config.instance_group), default=1)
    del config.instance_group[:]
    config.instance_group.add(count=count, kind=groups.KIND_GPU, gpus=[gpu])
    del config.model_warmup[:]
    if config.backend in _PYTHON_BACKED:
        config.parameters["FORCE_CPU_ONLY_INPUT_TENSORS"].string_value = "no"


def lay_out(repository: Repository, model: str, version: int, folder: Path) -> None:
    """Make ``folder`` Triton's folder of a further version: links to the version's files, and to the model's label files."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    found, source = repository.config(model, version), repository.folder(model, version)
    for name in {output.label_filename for output in found.output}:
        if name and name == Path(name).name:
            (folder / name).symlink_to((repository.root / model / name).resolve())
    here = folder / str(version)
    if found.backend != "python":
        here.symlink_to(source.resolve())  # whole: ONNX Runtime wants external data in the model's own folder
        return
    here.mkdir()  # where Python leaves bytecode: the version's own folder holds what its manifest lists, and no more
    for file in source.iterdir():
        if file.is_file():
            (here / file.name).symlink_to(file.resolve())
