"""The worker's cage, tried from inside: a child locks itself exactly as a worker does and then attempts what it must not do."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ATTEMPTS = """
import ctypes, json, mmap, os, signal, socket, subprocess, sys, threading
from orchestrator.adapters.decoders import sandbox
from orchestrator.adapters.decoders.worker import warm_up

warm_up()
locked = sys.argv[1] == "locked"
libc = ctypes.CDLL(None, use_errno=True)
media = os.open(sys.argv[2], os.O_RDWR)
channel = socket.socket(fileno=int(sys.argv[3]))
other = threading.Event(), threading.Event()
seen = []

def thread():  # made before the lock, so the filter must reach it too
    other[0].wait()
    seen.append(attempt(lambda: os.open("/etc/hostname", os.O_RDONLY)))
    other[1].set()

def attempt(run):
    try:
        result = run()
    except OSError as error:
        return error.errno
    except RuntimeError:
        return 1  # "can't start new thread"
    return 0 if result is None or not isinstance(result, int) or result >= 0 else ctypes.get_errno()

def fork():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)

def raw(number, *arguments):
    return lambda: libc.syscall(number, *arguments)

threading.Thread(target=thread, daemon=True).start()
if locked:
    sandbox.limit(6 << 30, 60)
    sandbox.lock()
libc.mmap.restype = ctypes.c_void_p
results = {
    "open": attempt(lambda: os.open("/etc/hostname", os.O_RDONLY)),
    "open for writing": attempt(lambda: os.open(sys.argv[2] + ".new", os.O_CREAT | os.O_WRONLY)),
    "openat2": attempt(raw(437, -100, b"/etc/hostname", ctypes.create_string_buffer(24), 24)),
    "socket": attempt(lambda: socket.socket()),
    "unix socket": attempt(lambda: socket.socketpair()),
    "fork": attempt(fork),
    "clone3": attempt(raw(435, ctypes.create_string_buffer(88), 4)),
    "thread": attempt(lambda: threading.Thread(target=print).start()),
    "exec": attempt(lambda: subprocess.run(["/bin/true"])),
    "execve": attempt(raw(59, b"/nonexistent", None, None)),
    "ptrace": attempt(raw(101, 0x4206, 0, 0, 0)),
    "kill": attempt(lambda: os.kill(os.getppid(), 0)),
    "write": attempt(lambda: os.pwrite(media, b"x", 0)),
    "truncate": attempt(lambda: os.ftruncate(media, 8192)),
    "map a file": attempt(lambda: mmap.mmap(media, 4096, prot=mmap.PROT_READ) and None),
    "executable memory": attempt(lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC) and None),
    "stat": attempt(lambda: os.stat("/etc/hostname") and None),
    "list": attempt(lambda: os.listdir("/") and None),
    "unlink": attempt(lambda: os.unlink(sys.argv[2] + ".gone")),
    "memfd": attempt(lambda: os.memfd_create("x")),
    "process_vm_readv": attempt(raw(310, os.getppid(), None, 0, None, 0, 0)),
    "io_uring": attempt(raw(425, 1, ctypes.create_string_buffer(120))),
}
other[0].set()
other[1].wait()
results["open in an older thread"] = seen[0]
allowed = {
    "read": attempt(lambda: os.pread(media, 4, 0) and None),
    "memory": attempt(lambda: bytearray(64 << 20) and None),
}
report = json.dumps([results, allowed]).encode()
channel.send(report)
os._exit(0)
"""


def attempts(tmp_path: Path, mode: str) -> tuple[dict[str, int], dict[str, int]]:
    media = tmp_path / "media"
    media.write_bytes(bytes(8192))
    (tmp_path / "media.gone").touch()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        subprocess.run(
            [sys.executable, "-c", ATTEMPTS, mode, str(media), str(theirs.fileno())],
            pass_fds=(theirs.fileno(),),
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4]), "OPENBLAS_NUM_THREADS": "1"},
            timeout=60,
            check=True,
        )
        refused, allowed = json.loads(ours.recv(100_000))
    return refused, allowed


def test_nothing_dangerous_is_left(tmp_path: Path) -> None:
    refused, allowed = attempts(tmp_path, "locked")
    assert {name: code for name, code in refused.items() if code != errno.EPERM} == {}, "these got through"
    assert set(allowed.values()) == {0}
    assert (tmp_path / "media").read_bytes() == bytes(8192)
    assert (tmp_path / "media.gone").exists()


def test_the_same_attempts_succeed_outside_the_cage(tmp_path: Path) -> None:
    """The negative control: without the lock the harness sees success."""
    refused, _ = attempts(tmp_path, "free")
    for name in (
        "open",
        "open for writing",
        "socket",
        "fork",
        "thread",
        "exec",
        "write",
        "map a file",
        "unlink",
        "memfd",
    ):
        assert refused[name] == 0, name
    assert refused["open in an older thread"] == 0


@pytest.mark.parametrize("limit", ["address space", "file size", "core"])
def test_limits(limit: str) -> None:
    script = """
import resource, sys
from orchestrator.adapters.decoders import sandbox
sandbox.limit(1 << 30, 60)
kind = {"address space": resource.RLIMIT_AS, "file size": resource.RLIMIT_FSIZE, "core": resource.RLIMIT_CORE}[sys.argv[1]]
print(resource.getrlimit(kind)[1])
"""
    shown = subprocess.run(
        [sys.executable, "-c", script, limit], capture_output=True, check=True, cwd=Path(__file__).parents[4]
    ).stdout
    assert int(shown) == {"address space": 1 << 30, "file size": 0, "core": 0}[limit]
