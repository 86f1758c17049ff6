"""What tests of every kind share: real media whose content is known, and real databases."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.adapters.stores.sql import open_database
from tests.media.composite import build_composite
from tests.media.truth import Truth
from tests.support.folders import light_folder
from tests.support.postgres import Postgres, running_postgres


def pytest_configure() -> None:
    """A shell that starts us in the background has us ignore Ctrl-C: the tests of it would wait for ever, and so would the
    commands that they start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def same_scheduling() -> Iterator[None]:
    """No test may change how all later ones, and the services that they start, are scheduled."""
    before = os.sched_getscheduler(0)
    yield
    assert os.sched_getscheduler(0) == before


@dataclass(frozen=True, slots=True)
class Film:
    """A video and everything that is known of it."""

    path: Path
    truth: Truth

    @property
    def nbytes(self) -> int:
        return self.path.stat().st_size

    @property
    def seconds(self) -> float:
        return self.truth.frames / self.truth.fps


@pytest.fixture(scope="session")
def composite(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """The composite of real clips: 602 frames, ten hard cuts, five burnt-in lines."""
    path = tmp_path_factory.mktemp("composite") / "composite.mp4"
    return Film(path, build_composite(path))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL, with pgvector."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_postgres(postgres: Postgres) -> str:
    """The name of a database with our tables, to copy from."""
    name = postgres.create()
    open_database(postgres.url(name)).close()
    return name


@pytest.fixture
def postgres_url(postgres: Postgres, migrated_postgres: str) -> Iterator[str]:
    """Address of a new database of PostgreSQL, migrated and empty."""
    name = postgres.create(template=migrated_postgres)
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture(scope="session")
def migrated_sqlite() -> Iterator[Path]:
    """A data directory with our tables, to copy from."""
    with light_folder("reelsift-sqlite-") as folder:
        open_database(folder / "migrated").close()
        yield folder / "migrated"


@pytest.fixture
def sqlite_dir(migrated_sqlite: Path) -> Iterator[Path]:
    """A data directory with a new embedded database, migrated and empty."""
    with light_folder("reelsift-sqlite-") as folder:
        yield shutil.copytree(migrated_sqlite, folder / "data")


@pytest.fixture(params=["sqlite", "postgres"])
def store_target(request: pytest.FixtureRequest) -> str | Path:
    """What ``open_store`` opens: a new database of each kind."""
    target: str | Path = request.getfixturevalue({"sqlite": "sqlite_dir", "postgres": "postgres_url"}[request.param])
    return target
