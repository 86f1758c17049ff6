"""``reelsift serve``."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from pydantic import ValidationError

from orchestrator import logs
from orchestrator.adapters.service_manager import ServiceManager
from orchestrator.cli import loop
from orchestrator.errors import InvalidRequest, SetupError
from orchestrator.reloading import Reloads
from orchestrator.settings import Settings

log = structlog.get_logger(__name__)

ENDING_SECONDS = 30.0  # beyond the drain: farewells to clients, Triton and the store


def serve(
    listen: Annotated[str | None, typer.Option(help="HOST:PORT or unix:PATH of the gRPC server.")] = None,
    http_listen: Annotated[
        str | None, typer.Option(help='HOST:PORT or unix:PATH of the HTTP server; "" for none.')
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder of the embedded database and of uploads.")] = None,
    database: Annotated[
        str | None, typer.Option(help="postgresql://... of a database that several servers share.")
    ] = None,
    triton: Annotated[str | None, typer.Option(help="HOST:PORT of a Triton that runs elsewhere.")] = None,
    model_repository: Annotated[Path | None, typer.Option(help="Folder of the models.")] = None,
    profile_dir: Annotated[Path | None, typer.Option(help="Folder of further profiles (TOML).")] = None,
    root: Annotated[list[Path] | None, typer.Option(help="Folder below which clients may name files.")] = None,
    spool_dir: Annotated[Path | None, typer.Option(help="Folder of uploads.")] = None,
    max_running: Annotated[int | None, typer.Option(min=1, help="Analyses at work at once.")] = None,
    drain_seconds: Annotated[float | None, typer.Option(min=0, help="Patience with running work at the end.")] = None,
    log_level: Annotated[str | None, typer.Option(help=f"One of {', '.join(logs.LEVELS)}.")] = None,
    log_json: Annotated[bool | None, typer.Option("--log-json/--log-text", help="Log JSON lines.")] = None,
) -> None:
    """Serve analyses over gRPC until SIGTERM; running work may finish first. SIGHUP reads the settings anew.

    Every option has an environment variable: REELSIFT_LISTEN, REELSIFT_TRITON, REELSIFT_MAX_RUNNING and so on. REELSIFT_CONFIG names a
    file (TOML) of settings; options and variables win over it.
    """
    given = {
        "listen": listen,
        "http_listen": http_listen,
        "data_dir": data_dir,
        "database": database,
        "triton": triton,
        "model_repository": model_repository,
        "profile_dir": profile_dir,
        "roots": tuple(root) if root else None,
        "spool_dir": spool_dir,
        "max_running": max_running,
        "drain_seconds": drain_seconds,
        "log_level": log_level,
        "log_json": log_json,
    }
    settings = settings_with(given)
    logs.configure(settings.log_level, as_json=settings.log_json)
    reloads = Reloads(settings, lambda: _again(given))
    reloads.on(("log_level", "log_json"), lambda new: lambda: logs.configure(new.log_level, as_json=new.log_json))
    loop.run(_serve(reloads, ServiceManager.of_environment(os.environ)))


def settings_with(given: Mapping[str, object]) -> Settings:
    """The environment's settings, overridden by what is given (not ``None``)."""
    chosen: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    try:
        return Settings(**chosen)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise typer.BadParameter(f"{first['msg']}, got {first['input']!r}", param_hint=name) from error


def _again(given: Mapping[str, object]) -> Settings:
    """The settings as they are now. Raises ``InvalidRequest``."""
    try:
        return settings_with(given)
    except typer.BadParameter as error:
        # Without the value, which may be secret.
        said = error.__cause__.errors()[0]["msg"] if isinstance(error.__cause__, ValidationError) else "wrong"
        raise InvalidRequest(f"wrong settings: {error.param_hint}: {said}") from error
    except SetupError as error:
        raise InvalidRequest(f"wrong settings: {error}") from error


async def _serve(reloads: Reloads, manager: ServiceManager) -> None:
    from orchestrator.app import patient_inference, running_app

    running = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        running.add_signal_handler(number, stop.set)
    running.add_signal_handler(signal.SIGHUP, _reload, reloads)
    async with running_app(reloads.settings, patient_inference, ending=stop, reloads=reloads) as address:
        gc.collect()
        gc.freeze()  # what lives as long as the service: looking through it again and again stops everything for 80 ms
        log.info("service.serving", address=address)
        status = f"serving at {address}"
        manager.ready(status)
        running.add_signal_handler(signal.SIGHUP, _reload, reloads, manager, status)
        watched = running.create_task(manager.keep_watched())
        await stop.wait()
        watched.cancel()
        running.add_signal_handler(signal.SIGHUP, _reload, reloads)
        manager.stopping(reloads.settings.drain_seconds + ENDING_SECONDS)
        log.info("service.draining", seconds=reloads.settings.drain_seconds)
        for number in (signal.SIGTERM, signal.SIGINT):
            running.remove_signal_handler(number)  # a second signal does not wait
    log.info("service.stopped")


def _reload(reloads: Reloads, manager: ServiceManager | None = None, status: str = "") -> None:
    """At SIGHUP. What is wrong with the settings is logged, and those in force stay. ``manager``: it hears of it, and that ``status`` is
    what it was."""
    if manager:
        manager.reloading()
    with suppress(InvalidRequest):
        reloads.reload(who="SIGHUP", why="")
    if manager:
        manager.ready(status)
