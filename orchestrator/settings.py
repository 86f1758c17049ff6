"""Settings: command line options, then environment variables ``REELSIFT_*`` (nested with ``__``), then secrets that stand in files of their
own (``reelsift_database``), then the file that ``REELSIFT_CONFIG`` names: TOML with the same names in lower case, nested ones as tables. A
reload reads the files again; see ``reloading.py``.
"""

from __future__ import annotations

import os
import socket
import tomllib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from platformdirs import user_cache_path, user_data_path
from pydantic import BaseModel, Field, SecretStr, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from orchestrator.core.health import Limits
from orchestrator.core.retention import Kind, Policies, Policy
from orchestrator.core.rollout import Budgets
from orchestrator.errors import SetupError

CONFIG = "REELSIFT_CONFIG"


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _default_repository() -> Path:
    """``model_repository/`` of a checkout, else one in the user's cache."""
    checkout = Path(__file__).resolve().parent.parent / "model_repository"
    return checkout if checkout.is_dir() else user_cache_path("reelsift") / "model_repository"


def _folders_of_secrets() -> list[Path]:
    """Where systemd (``LoadCredential=``) and containers lay down secrets."""
    named = [os.environ.get("CREDENTIALS_DIRECTORY", ""), "/run/secrets"]
    return [Path(folder) for folder in named if folder and Path(folder).is_dir()]


class Keep(BaseModel):
    """How much of a kind is kept; what is not given is not limited."""

    max_age_seconds: float | None = Field(default=None, ge=0, description="after the end of the analysis")
    max_bytes: int | None = Field(default=None, ge=0)


class Retention(BaseModel):
    """``REELSIFT_RETENTION__UPLOADS__MAX_BYTES`` and so on."""

    uploads: Keep = Keep(max_age_seconds=7 * 86400.0)  # for a retry; thumbnails and results are kept for good
    thumbnails: Keep = Keep()
    reports: Keep = Keep()
    analyses: Keep = Keep()

    def policies(self) -> Policies:
        """As the core knows them."""
        return {kind: _policy(getattr(self, kind.value)) for kind in Kind}


def _policy(keep: Keep) -> Policy:
    age = None if keep.max_age_seconds is None else timedelta(seconds=keep.max_age_seconds)
    return Policy(age, keep.max_bytes)


class Trial(BaseModel):
    """``REELSIFT_ROLLOUT__LATENCY_RATIO`` and so on: what a version on trial may cost beside the stable one."""

    least_requests: int = Field(default=20, ge=1, description="before latency and agreement are judged")
    least_failures: int = Field(default=3, ge=1, description="before the error rate is judged")
    error_rate: float = Field(default=0.02, ge=0, le=1)
    latency_ratio: float = Field(default=1.5, gt=0, description="of 95 % of the requests")
    latency_slack_seconds: float = Field(default=0.05, ge=0)
    memory_ratio: float = Field(default=1.5, gt=0)
    memory_slack_bytes: int = Field(default=256 << 20, ge=0)
    growth_bytes: int = Field(default=128 << 20, gt=0, description="since it had warmed up; more is a leak")
    disagreement: float = Field(default=0.05, ge=0, le=1, description="of the answers that were compared")
    watch_seconds: float = Field(default=600.0, ge=0, description="for which a promoted version is judged so, too")

    def budgets(self) -> Budgets:
        """As the core knows them."""
        return Budgets(
            least=self.least_requests,
            failures=self.least_failures,
            error_rate=self.error_rate,
            latency_ratio=self.latency_ratio,
            latency_slack_s=self.latency_slack_seconds,
            memory_ratio=self.memory_ratio,
            memory_slack_bytes=self.memory_slack_bytes,
            growth_bytes=self.growth_bytes,
            disagreement=self.disagreement,
        )


class Threshold(BaseModel):
    """From which value on a component is in a bad way; ``critical`` below ``warning`` where small values are bad."""

    warning: float = Field(allow_inf_nan=False)
    critical: float = Field(allow_inf_nan=False)

    def limits(self) -> Limits:
        """As the core knows them."""
        return Limits(self.warning, self.critical)


_DAY = 86400.0


class Thresholds(BaseModel):
    """``REELSIFT_LIMITS__DISK__WARNING`` and so on; of one that is given half, the other half stays."""

    database: Threshold = Threshold(warning=1, critical=2.5)  # seconds
    artifacts: Threshold = Threshold(warning=1, critical=2.5)  # seconds
    queue: Threshold = Threshold(warning=10, critical=100)  # analyses that wait
    queue_age: Threshold = Threshold(warning=900, critical=3600)  # seconds that the oldest has waited
    latency: Threshold = Threshold(warning=2, critical=5)  # seconds of 95 % of the unary calls
    failures: Threshold = Threshold(warning=0.05, critical=0.1)  # of the analyses of the last hour
    frames: Threshold = Threshold(
        warning=0.001, critical=0.01
    )  # lost of those that were to be decoded, of the last hour
    failures_least: int = Field(default=20, ge=1, description="analyses of an hour before their failures are judged")
    decoders: Threshold = Threshold(warning=6, critical=20)  # crashes a minute
    models: Threshold = Threshold(warning=3, critical=10)  # deaths of a model's processes a minute
    disk: Threshold = Threshold(warning=0.8, critical=0.9)  # used share
    memory: Threshold = Threshold(warning=0.85, critical=0.95)  # used share of the machine or control group
    cpu: Threshold = Threshold(warning=0.95, critical=1.01)  # used share, a mean over minutes; above 1: never
    gpu_memory: Threshold = Threshold(warning=0.9, critical=0.97)  # used share
    certificates: Threshold = Threshold(warning=21 * _DAY, critical=7 * _DAY)  # seconds to the end
    backup: Threshold = Threshold(warning=26 * 3600.0, critical=50 * 3600.0)  # seconds since the newest
    clock: Threshold = Threshold(warning=2, critical=60)  # seconds of a step
    clock_kept: bool = Field(default=False, description="whether to warn of a clock that no time server keeps")

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, given: object) -> object:
        if not isinstance(given, Mapping):
            return given
        whole = dict(given)
        for name, value in given.items():
            field = cls.model_fields.get(name)
            if isinstance(value, Mapping) and field is not None and isinstance(field.default, Threshold):
                whole[name] = {**field.default.model_dump(), **value}
        return whole


class Settings(BaseSettings):
    """Every knob of the service. Durations are seconds, sizes bytes."""

    model_config = SettingsConfigDict(env_prefix="REELSIFT_", env_nested_delimiter="__")

    server_name: str = Field(
        default_factory=socket.gethostname,
        min_length=1,
        description="names this server among those that share a database",
    )
    listen: str = Field("127.0.0.1:50051", description="host:port or unix:PATH of the gRPC server")
    http_listen: str = Field("127.0.0.1:8080", description="host:port or unix:PATH of the HTTP server; empty: none")
    triton: str = Field("", description="host:port of a Triton that runs elsewhere; empty: start one here")
    triton_shares_memory: bool = Field(
        False,
        description="the Triton named above runs on this host and may map our memory: frames are not copied to it",
    )
    triton_header: SecretStr | None = Field(
        None, description="NAME=VALUE that opens the restricted shared-memory API of that Triton"
    )
    model_repository: Path = Field(default_factory=_default_repository)
    profile_dir: Path | None = Field(None, description="further profiles (TOML), which may replace built-in ones")
    roots: tuple[Path, ...] = Field((), description="folders below which clients may name files")
    data_dir: Path = Field(
        default_factory=lambda: user_data_path("reelsift"), description="the embedded database, and what it names"
    )
    database: str = Field("", description="postgresql+psycopg://... of a shared database; empty: embedded, in data_dir")
    spool_dir: Path | None = Field(None, description="where uploads are kept; default: data_dir/uploads")
    blobs: str = Field("", description="s3://BUCKET/PREFIX of larger artifacts; empty: data_dir/blobs")
    blobs_endpoint: str = Field("", description="http://host:port of an S3 that is not Amazon's")
    retention: Retention = Field(default_factory=Retention, description="what of the past is kept, by kind")
    rollout: Trial = Field(default_factory=Trial, description="what a version of a model on trial may cost")
    cleanup_seconds: float = Field(3600.0, gt=0, description="between two clean-ups")
    disk_low_bytes: int = Field(512 << 20, ge=0, description="with less free room new work is refused, commits wait")
    disk_high_bytes: int = Field(1 << 30, gt=0, description="with more free room all goes on again")
    max_upload_bytes: int = Field(64 << 30, gt=0)
    max_running: int = Field(2, ge=1, description="analyses at work at once")
    max_waiting: int = Field(32, ge=0, description="further analyses accepted")
    max_interruptions: int = Field(
        5, ge=1, description="deaths of this process at one segment, before its analysis is quarantined"
    )
    stuck_seconds: float = Field(
        1800.0, gt=0, description="for which a running analysis may not get on, before it is stopped and tried again"
    )
    gpu: str = Field(
        "auto",
        pattern=r"^(auto|off|\d+)$",
        description="number of the GPU that decodes; auto: the first, if there is one",
    )
    decode_threads: int = Field(default_factory=lambda: min(4, _cores()), ge=1)
    arena_bytes: int = Field(192 << 20, gt=0, description="shared memory for frames")
    max_frame_pixels: int = Field(8192 * 4096, gt=0)
    max_decode_seconds: float = Field(4 * 3600.0, gt=0)
    embed_text: bool = Field(True, description="give stored texts vectors, so that search finds them by meaning")
    drain_seconds: float = Field(30.0, ge=0)
    look_seconds: float = Field(5.0, ge=0, description="between two looks at every part of the service; 0: never")
    limits: Thresholds = Field(default_factory=Thresholds, description="from when on a part is in a bad way")
    notify: tuple[SecretStr, ...] = Field(
        (), description="who hears of alerts: addresses as apprise has them (json://, slack://, mailto://...)"
    )
    history_seconds: float = Field(60.0, gt=0, description="between two samples of what was measured")
    history_days: float = Field(30.0, gt=0, description="for which samples and resolved alerts are kept")
    certificates: tuple[Path, ...] = Field((), description="files (PEM) whose end is watched")
    backups: Path | None = Field(
        None, description="the newest of this series of backups (reelsift backup --keep) is watched"
    )
    log_level: str = Field(
        "info", pattern=r"(?i)^(debug|info|warning|error)$", description="debug, info, warning or error"
    )
    log_json: bool = Field(False, description="one JSON object a line, else text")
    trace_endpoint: str = Field(
        "",
        pattern=r"^(https?://.+)?$",
        description="http://host:port of a collector (OTLP over HTTP); empty: nothing is traced",
    )
    trace_share: float = Field(1.0, ge=0, le=1, description="of the calls whose clients do not decide that themselves")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Those named above, the first first. Raises ``SetupError`` for a file that is not there, or is no TOML."""
        secrets = SecretsSettingsSource(settings_cls, _folders_of_secrets())
        name = os.environ.get(CONFIG)
        if not name:
            return init_settings, env_settings, secrets
        try:
            with Path(name).open("rb") as file:
                tomllib.load(file)
            return init_settings, env_settings, secrets, TomlConfigSettingsSource(settings_cls, Path(name))
        except OSError as error:
            raise SetupError(f"the file that {CONFIG} names cannot be read: {os.strerror(error.errno or 0)}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SetupError(f"the file that {CONFIG} names is no TOML: {error}") from error

    @field_validator("triton_header")
    @classmethod
    def _name_and_value(cls, header: SecretStr | None) -> SecretStr | None:
        if header is not None and not all(header.get_secret_value().partition("=")):
            raise ValueError("a header is NAME=VALUE")
        return header

    @property
    def triton_headers(self) -> tuple[tuple[str, str], ...]:
        """``triton_header``, as gRPC metadata."""
        if self.triton_header is None:
            return ()
        name, _, value = self.triton_header.get_secret_value().partition("=")
        return ((name.lower(), value),)

    @property
    def shares_memory(self) -> bool:
        """Whether Triton reads frames where they lie."""
        return not self.triton or self.triton_shares_memory
