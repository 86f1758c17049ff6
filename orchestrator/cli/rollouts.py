"""The steps of a rollout as commands of ``reelsift models``: each asks a server, and shows where the model stands behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, TypeVar

import typer

from orchestrator.api import messages as pb
from orchestrator.api.client import connect
from orchestrator.api.model_client import ModelClient
from orchestrator.cli import describe_models, following, loop, tables
from orchestrator.cli.servers import DEFAULT, JsonOption, ServerOption, WhoOption, WhyOption
from orchestrator.cli.servers import me as _me

ALWAYS = 3  # columns of a table, never wrapped

Server = Annotated[str | None, typer.Option(help="HOST:PORT or unix:PATH of a server, to see its versions.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="The model.")]
Version = Annotated[int, typer.Argument(metavar="VERSION", min=1, help="The number of the version.")]
MaybeVersion = Annotated[
    int, typer.Argument(metavar="[VERSION]", min=0, help="The version that is meant; refused when it is another.")
]
Share = Annotated[float, typer.Option(min=0, max=1, help="Above 0, at most 1.")]

T = TypeVar("T")


def stage(
    model: Model,
    version: Version,
    why: WhyOption = "",
    who: WhoOption = "",
    as_json: JsonOption = False,
    server: ServerOption = DEFAULT,
) -> None:
    """Examine a version and load it beside the stable one: files, golden answers, latency, memory. Nobody hears it yet."""
    _step(server, lambda models: models.stage(model, version, who=who or _me(), why=why), as_json=as_json)


def shadow(
    model: Model,
    share: Share,
    version: MaybeVersion = 0,
    why: WhyOption = "",
    who: WhoOption = "",
    as_json: JsonOption = False,
    server: ServerOption = DEFAULT,
) -> None:
    """Ask the candidate for a share of the requests and compare its answers, which nobody hears."""
    _step(
        server,
        lambda models: models.shadow(model, share, version=version, who=who or _me(), why=why),
        as_json=as_json,
    )


def canary(
    model: Model,
    share: Share,
    version: MaybeVersion = 0,
    why: WhyOption = "",
    who: WhoOption = "",
    as_json: JsonOption = False,
    server: ServerOption = DEFAULT,
) -> None:
    """Let the candidate answer for a share of the analyses; each keeps to one version."""
    _step(
        server,
        lambda models: models.canary(model, share, version=version, who=who or _me(), why=why),
        as_json=as_json,
    )


def promote(
    model: Model,
    version: MaybeVersion = 0,
    why: WhyOption = "",
    who: WhoOption = "",
    as_json: JsonOption = False,
    server: ServerOption = DEFAULT,
) -> None:
    """Make the candidate the stable version. The one before it stays loaded, for the way back."""
    _step(server, lambda models: models.promote(model, version=version, who=who or _me(), why=why), as_json=as_json)


def rollback(
    model: Model,
    version: MaybeVersion = 0,
    why: WhyOption = "",
    who: WhoOption = "",
    as_json: JsonOption = False,
    server: ServerOption = DEFAULT,
) -> None:
    """Leave the candidate or, where there is none, the stable version for the one before the last promotion."""
    _step(server, lambda models: models.rollback(model, version=version, who=who or _me(), why=why), as_json=as_json)


def retire(
    model: Model,
    version: Version,
    why: WhyOption = "",
    who: WhoOption = "",
    as_json: JsonOption = False,
    server: ServerOption = DEFAULT,
) -> None:
    """Let the previous version go from memory; the way back is closed from then on."""
    _step(server, lambda models: models.retire(model, version, who=who or _me(), why=why), as_json=as_json)


def history(
    model: Model,
    limit: Annotated[int, typer.Option(min=0, help="At most so many; 0 for all.")] = 50,
    as_json: JsonOption = False,
    server: ServerOption = DEFAULT,
) -> None:
    """Show the steps of a model, newest first: who, when, why, and what was found."""

    async def collect(models: ModelClient) -> list[pb.RolloutStep]:
        found: list[pb.RolloutStep] = []
        async for step in models.steps(model, page_size=min(limit, 200)):
            found.append(step)
            if len(found) == limit:
                break
        return found

    steps = _ask(server, collect)
    if as_json:
        for step in steps:
            following.print_json(step)
    else:
        tables.show(describe_models.STEP_COLUMNS, [describe_models.step_cells(step) for step in steps], always=ALWAYS)


def show_models(server: str, *, as_json: bool) -> None:
    """Every version of every model of ``server``."""
    _show(_ask(server, lambda models: models.list()), as_json=as_json)


def _step(server: str, take: Callable[[ModelClient], Awaitable[pb.Model]], *, as_json: bool) -> None:
    _show([_ask(server, take)], as_json=as_json)


def _show(models: Sequence[pb.Model], *, as_json: bool) -> None:
    if as_json:
        for model in models:
            following.print_json(model)
        return
    rows = [describe_models.version_cells(model, version) for model in models for version in model.versions]
    tables.show(describe_models.VERSION_COLUMNS, rows, always=ALWAYS)


def _ask(server: str, question: Callable[[ModelClient], Awaitable[T]]) -> T:
    async def ask() -> T:
        async with connect(server) as client:
            return await question(client.models)

    return loop.run(ask())
