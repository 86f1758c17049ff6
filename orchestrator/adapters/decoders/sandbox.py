"""The cage of a decode worker: what it may still ask of the kernel once media bytes are near.

An allow-list; everything else answers EPERM. No file, socket, process or thread can be made, no file mapped, no memory made
executable. The worker keeps four descriptors: its socket, the media (read-only), the control page, and ``/dev/null``.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import resource
import signal
from pathlib import Path

import pyseccomp as seccomp

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38

_MEMORY_AND_THREADS = (  # of the threads that exist already
    "brk munmap mremap madvise futex membarrier sched_yield restart_syscall exit exit_group "
    "rt_sigreturn rt_sigprocmask sigaltstack rseq set_robust_list"
)
_TIME_AND_SELF = (
    "clock_gettime clock_nanosleep nanosleep gettimeofday getpid gettid getrusage getcpu getrandom sched_getaffinity"
)
_GIVEN_DESCRIPTORS = "pread64 recvfrom recvmsg sendto sendmsg poll ppoll select pselect6 close lseek fstat"
_ALWAYS = f"{_MEMORY_AND_THREADS} {_TIME_AND_SELF} {_GIVEN_DESCRIPTORS}".split()


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies; exits when that has happened already."""
    parent = os.getppid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def step_back(niceness: int) -> None:
    """Leave the cores to others who want them: this process, and all that it starts. Where the kernel shares the cores out
    by session first (autogroups), its session steps back too, which it must lead.
    """
    os.nice(niceness)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(niceness))


def limit(address_space: int, cpu_seconds: float) -> None:
    """Resource limits: memory, CPU time (``SIGXCPU`` ends the process), no file writing, no core file, few descriptors."""
    cpu = max(1, int(cpu_seconds) + 2)
    resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


def lock() -> None:
    """Put every thread of this process under the allow-list, for good. Start all threads and import all modules before."""
    _prctl(_PR_SET_DUMPABLE, 0)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    rules = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
    rules.set_attr(seccomp.Attr.CTL_TSYNC, 1)
    for name in _ALWAYS:
        rules.add_rule(seccomp.ALLOW, name)
    anonymous = seccomp.Arg(3, seccomp.MASKED_EQ, mmap.MAP_ANONYMOUS, mmap.MAP_ANONYMOUS)
    rules.add_rule(seccomp.ALLOW, "mmap", seccomp.Arg(2, seccomp.MASKED_EQ, mmap.PROT_EXEC, 0), anonymous)
    rules.add_rule(seccomp.ALLOW, "mprotect", seccomp.Arg(2, seccomp.MASKED_EQ, mmap.PROT_EXEC, 0))
    # abort() and allocator failures must still end this process, and only this one
    rules.add_rule(seccomp.ALLOW, "tgkill", seccomp.Arg(0, seccomp.EQ, os.getpid()))
    rules.load()


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")
