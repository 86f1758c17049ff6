"""What the guard removes of a dead server, and what it leaves alone."""

from __future__ import annotations

import os
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
