"""A model that is being loaded is nice, and comes back; where it could not come back it stays as it is."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.adapters.triton.backends.onnxruntime import priority


def in_process(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.split()


PROGRAM = """
import os, threading
from pathlib import Path
from orchestrator.adapters.triton.backends.onnxruntime import priority
priority._LOCK = Path({lock!r})
priority._may_return = lambda niceness: {may}
before, over, seen = os.getpriority(os.PRIO_PROCESS, 0), threading.Event(), []
priority.step_back()
print(os.getpriority(os.PRIO_PROCESS, 0) - (0 if {really} else before))
if {really}:
    started = threading.Event()
    other = threading.Thread(target=lambda: (started.set(), over.wait(), print(os.getpriority(os.PRIO_PROCESS, 0) - before)))
    other.start()
    started.wait()
    priority.come_back()
    print(os.getpriority(os.PRIO_PROCESS, 0) - before)
    over.set()
    other.join()
"""


@pytest.mark.skipif(not priority._may_return(os.getpriority(os.PRIO_PROCESS, 0)), reason="may not lower its niceness")
def test_every_thread_comes_back(tmp_path: Path) -> None:
    assert in_process(PROGRAM.format(may=True, really=True, lock=str(tmp_path / "lock"))) == [
        str(priority.BACK),
        "0",
        "0",
    ]


def test_whoever_could_not_come_back_does_not_step_back(tmp_path: Path) -> None:
    assert in_process(PROGRAM.format(may=False, really=False, lock=str(tmp_path / "lock"))) == ["0"]


def test_to_come_back_without_having_stepped_back_changes_nothing() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    priority.come_back()
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


@pytest.mark.parametrize(
    ("arguments", "further"),
    [(["labels.2_0_0", "folder"], True), (["labels_0_0", "folder"], False), (["/a.b/labels_0_1", "folder"], False)],
)
def test_a_further_version_is_known_by_the_name_of_its_instance(arguments: list[str], further: bool) -> None:
    program = "from orchestrator.adapters.triton.backends.onnxruntime import priority; print(priority.is_further())"
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(further)]


AUTOGROUP = """
import os
from pathlib import Path
from orchestrator.adapters.triton.backends.onnxruntime import priority
priority._LOCK = Path({lock!r})
def shown():
    number, _, niceness = Path("/proc/self/autogroup").read_text().split()
    print(number, niceness, os.getsid(0) == os.getpid())
print(Path("/proc/self/autogroup").read_text().partition(" ")[0] or "none", os.getsid(0) == os.getpid())
priority.step_back(); shown(); priority.come_back(); shown()
"""


def a_session_has_an_autogroup() -> bool:
    shown = subprocess.run(["cat", "/proc/self/autogroup"], capture_output=True, start_new_session=True)
    return bool(shown.stdout.strip())


@pytest.mark.skipif(not a_session_has_an_autogroup(), reason="this kernel has no autogroups")
def test_it_has_a_session_of_its_own_that_steps_back(tmp_path: Path) -> None:
    said = in_process(AUTOGROUP.format(lock=str(tmp_path / "lock")))
    first, loading, after = said[0:2], said[2:5], said[5:8]  # whoever's ancestors led no session is in no autogroup yet
    assert first[1] == "False"
    assert loading[0] != first[0]
    assert loading[1:] == [str(priority.BACK), "True"]
    assert after == [loading[0], "0", "True"]


LOADING = """
import time
from pathlib import Path
from orchestrator.adapters.triton.backends.onnxruntime import priority
priority._LOCK = Path({lock!r})
priority.step_back()
began = time.monotonic()
time.sleep(0.3)
print(began, time.monotonic())
priority.come_back()
"""


def test_instances_load_one_after_the_other(tmp_path: Path) -> None:
    line = [sys.executable, "-c", LOADING.format(lock=str(tmp_path / "lock"))]
    running = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    turns = sorted(tuple(map(float, process.communicate()[0].split())) for process in running)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(turns))
    assert all(process.returncode == 0 for process in running)
