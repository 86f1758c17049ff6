"""CPU accounting, against burners that report their own use."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from tests.benchmarks.cpu import Meter, Others, kind, tree, tree_cpu

BURN = "import time\nwhile time.process_time() < {seconds}: pass\n"
# A parent that burns, starts two children one after the other (both gone at the end) and a third that stays.
FAMILY = """
import subprocess, sys, time
burn = [sys.executable, "-S", "-c", "import time\\nwhile time.process_time() < 0.3: pass"]
for _ in range(2):
    subprocess.run(burn, check=True)
stays = subprocess.Popen([sys.executable, "-S", "-c",
    "import sys, time\\nwhile time.process_time() < 0.3: pass\\nprint('burnt', flush=True)\\nsys.stdin.read()"],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
stays.stdout.readline()
while time.process_time() < 0.3: pass
print("done", flush=True)
sys.stdin.read()
stays.communicate()
"""


def test_ended_and_living_descendants_are_counted_once() -> None:
    family = subprocess.Popen([sys.executable, "-S", "-c", FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert family.stdout is not None
        assert family.stdout.readline() == b"done\n"
        spent = tree_cpu(family.pid)
        members = tree(family.pid)
    finally:
        family.communicate()
    assert members[0].pid == family.pid
    assert len(members) == 2
    assert members[0].reaped == pytest.approx(0.6, abs=0.15)
    # Four burners of 0.3 s each; a little more for starting children, never less (a clock tick per number aside).
    assert 1.2 - 0.1 <= spent <= 1.2 * 1.25


def test_a_child_that_comes_and_goes_shows_in_the_difference() -> None:
    before = tree_cpu(os.getpid())
    subprocess.run([sys.executable, "-S", "-c", BURN.format(seconds=0.5)], check=True)
    assert 0.45 <= tree_cpu(os.getpid()) - before <= 0.8


def test_a_process_outside_our_tree_belongs_to_the_others() -> None:
    began = time.monotonic()
    with Others() as others:
        # The shell ends at once, so that the burner is nobody's child of ours; its end closes the pipe.
        orphan = subprocess.Popen(
            ["sh", "-c", '"$0" -S -c "$1" &', sys.executable, BURN.format(seconds=0.5)], stdout=subprocess.PIPE
        )
        assert orphan.wait() == 0
        assert orphan.stdout is not None
        orphan.stdout.read()
    assert others.cores * (time.monotonic() - began) >= 0.4


def test_a_meter_keeps_what_processes_used_that_nobody_waits_for() -> None:
    family = """
import os, signal, sys, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
if not os.fork():
    while time.process_time() < 0.5: pass
    time.sleep(1.5)
    os._exit(0)
try:
    os.wait()
except ChildProcessError:
    print("over", flush=True)
sys.stdin.read()
"""
    parent = subprocess.Popen([sys.executable, "-S", "-c", family], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        with Meter(parent.pid) as meter:
            assert parent.stdout is not None
            assert parent.stdout.readline() == b"over\n"
        assert len(tree(parent.pid)) == 1
    finally:
        parent.communicate()
    assert 0.45 <= meter.seconds <= 0.8


def test_a_process_that_is_gone_has_no_tree() -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", ""])
    child.wait()
    with pytest.raises(ProcessLookupError):
        tree(child.pid)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("/x/triton_python_backend_stub", "/repo/labels/1/model.onnx", "region"), "model labels"),
        (("/x/tritonserver", "--log-file=y"), "tritonserver"),
        (("python", "-I", "-S", "/x/guard.py", "name"), "tritonserver"),
        (("python", "-m", "orchestrator.adapters.decoders.forkserver", "7", "2"), "decode worker"),
        ((), "other"),
    ],
)
def test_kinds_of_processes(arguments: tuple[str, ...], expected: str) -> None:
    assert kind(arguments) == expected
