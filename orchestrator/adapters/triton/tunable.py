"""A model's config as tuning sees it: which setting it has, the same config with another, and a repository in which that one is served."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from orchestrator.adapters.triton.repository import CONFIG, Repository
from orchestrator.core.tuning import Setting
from orchestrator.errors import NotFound, SetupError

SIGNATURE = "# Measured by `reelsift models tune`"  # how a config of ours begins
_THREADS, _SPINNING, _PLANNED = "intra_op_thread_count", "session.intra_op.allow_spinning", "enable_mem_pattern"


@dataclass(frozen=True, slots=True)
class TunableConfig:
    """The config of ``version`` of ``model``. Raises ``SetupError`` where it is not one of the backend ``onnxruntime``."""

    model: str
    version: int
    config: model_config_pb2.ModelConfig

    def __post_init__(self) -> None:
        if self.config.backend != "onnxruntime":
            backend = self.config.backend or self.config.platform
            raise SetupError(
                f"{self.model} runs on the backend {backend!r}; what is tuned are settings of onnxruntime",
                model=self.model,
            )

    @property
    def setting(self) -> Setting:
        """What it says of what is tuned."""
        config = self.config
        merges = config.HasField("dynamic_batching")
        return Setting(
            instances=max(1, sum(group.count for group in config.instance_group)),
            threads=int(config.parameters[_THREADS].string_value or 0) if _THREADS in config.parameters else 0,
            batch=max(1, config.max_batch_size),
            delay_us=config.dynamic_batching.max_queue_delay_microseconds if merges else None,
            spinning=_flag(config, _SPINNING, unless="0"),
            planned_memory=_flag(config, _PLANNED, unless="1"),
        )

    @property
    def batchable(self) -> bool:
        """Whether its requests are of one shape, and have rows at all."""
        return self.config.max_batch_size > 0 and not any(-1 in tensor.dims for tensor in self.config.input)

    def with_setting(self, setting: Setting) -> TunableConfig:
        """The same config but for ``setting``."""
        config = model_config_pb2.ModelConfig()
        config.CopyFrom(self.config)
        kind = config.instance_group[0].kind if config.instance_group else model_config_pb2.ModelInstanceGroup.KIND_CPU
        del config.instance_group[:]
        config.instance_group.add(count=setting.instances, kind=kind)
        config.parameters[_THREADS].string_value = str(setting.threads)
        _set_flag(config, _SPINNING, setting.spinning, unless=False)
        _set_flag(config, _PLANNED, setting.planned_memory, unless=True)
        if config.max_batch_size:
            config.max_batch_size = setting.batch
        if setting.delay_us is None:
            config.ClearField("dynamic_batching")
        else:
            config.dynamic_batching.max_queue_delay_microseconds = setting.delay_us
        return TunableConfig(self.model, self.version, config)

    def text(self, note: Sequence[str] = ()) -> str:
        """As config.pbtxt, below ``note``."""
        said = [f"{SIGNATURE}{note[0]}", *(f"# {line}" for line in note[1:])] if note else []
        return "".join(f"{line}\n" for line in said) + str(text_format.MessageToString(self.config))


def _flag(config: model_config_pb2.ModelConfig, key: str, unless: str) -> bool:
    given = config.parameters[key].string_value if key in config.parameters else unless
    return given.lower() in ("1", "true")


def _set_flag(config: model_config_pb2.ModelConfig, key: str, value: bool, *, unless: bool) -> None:
    if value == unless:
        config.parameters.pop(key, None)
    else:
        config.parameters[key].string_value = str(int(value))


def read(repository: Path, model: str, version: int | None = None) -> TunableConfig:
    """What is served as ``version`` of ``model`` (``None``: the repository's default): the version's own config, or else the model's.

    Raises ``NotFound`` for a model or version that is not there, ``SetupError`` for a config that cannot be read.
    """
    found = Repository(repository)
    held = found.versions(model)
    version = found.default(model) if version is None else version
    if version not in held:
        raise NotFound(f"the model repository holds no version {version} of {model}", model=model)
    return TunableConfig(model, version, found.config(model, version))


def own_config(repository: Path, model: str, version: int) -> Path:
    """Where a version has its own config, if it has one."""
    return repository / model / str(version) / CONFIG


def is_ours(path: Path) -> bool:
    """Whether tuning wrote the config at ``path``."""
    return path.is_file() and path.read_text(encoding="utf-8").startswith(SIGNATURE)


def write(path: Path, config: TunableConfig, note: Sequence[str]) -> None:
    """Make ``config`` a version's own, whole or not at all."""
    making = path.with_name(f".{path.name}.{os.getpid()}")
    making.write_text(config.text(note), encoding="utf-8")
    os.replace(making, path)


def lay_out(repository: Path, trial: TunableConfig, target: Path) -> None:
    """Make ``target`` a repository like ``repository``, by links, in which ``trial`` is the one version and the config of its model.

    The files of the version are copied: a link would lead out of its folder.
    """
    target.mkdir(parents=True)
    for folder in repository.iterdir():
        if folder.is_dir() and folder.name != trial.model:
            (target / folder.name).symlink_to(folder.resolve())
    source, made = repository / trial.model, target / trial.model
    made.mkdir()
    for file in source.iterdir():
        if file.is_file() and file.name != CONFIG:
            shutil.copy2(file, made)
    number = str(trial.version)
    shutil.copytree(source / number, made / number, ignore=shutil.ignore_patterns(CONFIG))
    served = model_config_pb2.ModelConfig()
    served.CopyFrom(trial.config)
    served.name = trial.model
    served.ClearField("version_policy")
    served.version_policy.specific.versions.append(trial.version)
    (made / CONFIG).write_text(TunableConfig(trial.model, trial.version, served).text(), encoding="utf-8")
