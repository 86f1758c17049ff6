"""A model that is being loaded is nice, and comes back; where it could not come back it stays as it is."""

import os
import subprocess
import sys

import pytest

from orchestrator.adapters.triton.backends.onnxruntime import priority


def in_process(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.split()


PROGRAM = """
import os, threading
from orchestrator.adapters.triton.backends.onnxruntime import priority
priority._may_return = lambda niceness: {may}
before, over, seen = os.getpriority(os.PRIO_PROCESS, 0), threading.Event(), []
priority.step_back()
print(os.getpriority(os.PRIO_PROCESS, 0) - before)
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
def test_every_thread_comes_back() -> None:
    assert in_process(PROGRAM.format(may=True, really=True)) == [str(priority.BACK), "0", "0"]


def test_whoever_could_not_come_back_does_not_step_back() -> None:
    assert in_process(PROGRAM.format(may=False, really=False)) == ["0"]


def test_to_come_back_without_having_stepped_back_changes_nothing() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    priority.come_back()
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
