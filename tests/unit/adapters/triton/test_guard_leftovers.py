"""What the guard removes of a dead server, and what it leaves alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.adapters.triton import guard


def test_the_backends_empty_folder_goes(tmp_path: Path):
    began = time.time()
    (tmp_path / "python_env_a1B2c3").mkdir()
    guard.remove_environments(began - 1, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("age", [-100.0, 100.0], ids=["older than the server", "made long after its start"])
def test_another_servers_folder_stays(age: float, tmp_path: Path):
    folder = tmp_path / "python_env_a1B2c3"
    folder.mkdir()
    began = time.time()
    os.utime(folder, (began + age, began + age))
    guard.remove_environments(began, tmp_path)
    assert folder.exists()


def test_a_folder_in_use_and_other_names_stay(tmp_path: Path):
    began = time.time() - 1
    (tmp_path / "python_env_a1B2c3" / "0").mkdir(parents=True)
    (tmp_path / "python_env").mkdir()
    guard.remove_environments(began, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["python_env", "python_env_a1B2c3"]


def test_a_stub_that_left_the_session_ends_with_the_others():
    command = ["triton_python_backend_stub", "-c", "import time; time.sleep(60)"]
    ours = subprocess.Popen([*command, "reelsift-1-a-x"], executable=sys.executable, start_new_session=True)
    theirs = subprocess.Popen([*command, "reelsift-1-ab-x"], executable=sys.executable, start_new_session=True)
    member = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        while sorted(guard.processes(member.pid, "reelsift-1-a")) != sorted([ours.pid, member.pid]):
            time.sleep(0.01)  # until it has its own command line
        guard.end_processes(member.pid, "reelsift-1-a")
        assert guard.processes(member.pid, "reelsift-1-a") == []  # the guard may have waited for them itself
        assert guard.processes(-1, "reelsift-1-ab") == [theirs.pid]
    finally:
        for process in (ours, theirs, member):
            process.kill()
            process.wait()
