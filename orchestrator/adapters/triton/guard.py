"""Stands between reelsift and ``tritonserver``, so that neither leaves anything behind when it dies.

Runs as ``python guard.py NAME LOCK_FD FOLDER COMMAND...`` in a session of its own, standard library only. It starts
the command, prints its pid, and ends everything of the session, and the stubs that left it, when the command ends or when its parent is
gone (end of file on standard input). Then it removes ``/dev/shm/NAME*``, FOLDER and the backend's folder in ``/tmp``, and
leaves with the command's exit status. Triton's stubs outlive a killed server, which is why the server cannot look after
itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PARENT_POLL_MS = 1000
_BACKEND_START_S = 60


def processes(session: int, name: str) -> list[int]:
    """Pids of the processes of ``session`` and of Triton's stubs that left it, whose shared memory is named after ``name``; dead
    ones not yet waited for excluded.
    """
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                # pid (name) state ppid pgrp session ...; the name may hold spaces and parentheses
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                if fields[0] not in "ZX" and (int(fields[3]) == session or _is_stub(entry, name)):
                    found.append(int(entry))
    return found


def _is_stub(pid: str, name: str) -> bool:
    command, *arguments = Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
    return command.endswith(b"triton_python_backend_stub") and any(
        argument.startswith(f"{name}-".encode()) for argument in arguments
    )


def end_processes(session: int, name: str) -> None:
    """Kill all of them except the caller, until none is left."""
    while others := [pid for pid in processes(session, name) if pid != os.getpid()]:
        for pid in others:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        select.select([], [], [], 0.005)


def remove_environments(began: float, temporary: Path = Path("/tmp")) -> None:
    """Remove the folder that the Python backend makes for packed environments when it starts, here always empty.

    Its name is random and its place fixed in the backend, which removes it only on a slow farewell. So it is known by its
    age: ours, empty, made at most a minute after ``began`` (seconds since the epoch).
    """
    for folder in temporary.glob("python_env_??????"):
        with contextlib.suppress(OSError):
            state = folder.lstat()
            if state.st_uid == os.getuid() and began <= state.st_mtime <= began + _BACKEND_START_S:
                folder.rmdir()


def main(name: str, lock_fd: str, folder: str, *command: str) -> int:
    """Run ``command`` guarded. ``lock_fd`` keeps the name locked while this process lives."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    parent = os.getppid()
    began = time.time()
    # Should the guard itself be killed, the server must not live on: this thread, the only one, is its parent.
    server = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=2,
        preexec_fn=lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0),  # safe: this process has one thread
    )
    for asked in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(asked, signal.SIG_IGN)  # a service manager may ask the whole group; the parent decides when
    sys.stdout.write(f"{server.pid}\n")
    sys.stdout.flush()
    poll = select.poll()
    poll.register(0, select.POLLIN | select.POLLHUP)
    poll.register(os.pidfd_open(server.pid), select.POLLIN)
    while not poll.poll(_PARENT_POLL_MS) and os.getppid() == parent:
        pass
    # Whichever it was: the command ended, or nobody is left to serve.
    status = server.poll()
    end_processes(os.getsid(0), name)
    for leftover in sorted(Path("/dev/shm").glob(f"{name}*"), reverse=True):
        leftover.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    remove_environments(began)
    os.close(int(lock_fd))
    return 0 if status is None else status


if __name__ == "__main__":
    code = main(*sys.argv[1:])
    sys.exit(128 - code if code < 0 else code)
