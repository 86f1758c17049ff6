"""Settings: environment variables ``REELSIFT_*`` (nested with ``__``), overridden by command line options."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _default_repository() -> Path:
    """``model_repository/`` of a checkout, else one in the user's cache."""
    checkout = Path(__file__).resolve().parent.parent / "model_repository"
    return checkout if checkout.is_dir() else user_cache_path("reelsift") / "model_repository"


class Settings(BaseSettings):
    """Every knob of the service. Durations are seconds, sizes bytes."""

    model_config = SettingsConfigDict(env_prefix="REELSIFT_", env_nested_delimiter="__")

    listen: str = Field("127.0.0.1:50051", description="host:port or unix:PATH of the gRPC server")
    triton: str = Field("", description="host:port of a Triton that runs elsewhere; empty: start one here")
    model_repository: Path = Field(default_factory=_default_repository)
    profile_dir: Path | None = Field(None, description="further profiles (TOML), which may replace built-in ones")
    roots: tuple[Path, ...] = Field((), description="folders below which clients may name files")
    spool_dir: Path | None = Field(None, description="where uploads are kept; default: the system's temporary folder")
    max_upload_bytes: int = Field(64 << 30, gt=0)
    max_running: int = Field(2, ge=1, description="analyses at work at once")
    max_waiting: int = Field(32, ge=0, description="further analyses accepted")
    decode_threads: int = Field(default_factory=lambda: min(4, _cores()), ge=1)
    arena_bytes: int = Field(192 << 20, gt=0, description="shared memory for frames")
    max_frame_pixels: int = Field(8192 * 4096, gt=0)
    max_decode_seconds: float = Field(4 * 3600.0, gt=0)
    drain_seconds: float = Field(30.0, ge=0)
    log_level: str = "info"
    log_json: bool = False
