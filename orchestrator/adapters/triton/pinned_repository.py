"""A model repository of links in which one model has one version: what Triton serves from it is known beforehand."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from orchestrator.errors import NotFound, SetupError

CONFIG = "config.pbtxt"


def pin(repository: Path, model: str, version: int, folder: Path) -> Path:
    """Make ``folder`` (new) such a repository; returns it. Every other model is served as ``repository`` says.

    A version with a config of its own is served by that one. Raises ``NotFound`` for a version that ``repository`` lacks, and
    ``SetupError`` for a config that cannot be read.
    """
    home, built = repository / model, held(repository, model, version)
    folder.mkdir()
    for other in repository.iterdir():
        if other.is_dir() and other.name != model and not other.name.startswith("."):
            (folder / other.name).symlink_to(other.resolve())
    pinned = folder / model
    pinned.mkdir()
    for each in home.iterdir():
        if each.is_file() and each.name != CONFIG:
            (pinned / each.name).symlink_to(each.resolve())
    (pinned / built.name).symlink_to(built.resolve())
    own = built / CONFIG
    (pinned / CONFIG).write_text(_serving(own if own.is_file() else home / CONFIG, model, version), encoding="utf-8")
    return folder


def held(repository: Path, model: str, version: int) -> Path:
    """The folder of ``version``. Raises ``NotFound`` where there is none, naming those there are."""
    home = repository / model
    built = home / str(version)
    if not built.is_dir():
        others = sorted(int(each.name) for each in home.glob("[0-9]*") if each.name.isdigit() and each.is_dir())
        there = f"; it holds {', '.join(map(str, others))}" if others else ""
        raise NotFound(f"the model repository holds no version {version} of {model}{there}", model=model)
    return built


def _serving(path: Path, model: str, version: int) -> str:
    """The config at ``path``, serving ``version`` alone."""
    try:
        config = text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise SetupError(f"the config of {model} cannot be read", model=model) from error
    config.name = model
    config.version_policy.Clear()
    config.version_policy.specific.versions.append(version)
    return str(text_format.MessageToString(config))
