"""The fork server: warms up once, and then each worker is a copy of it that is ready in milliseconds.

    python -m orchestrator.adapters.decoders.forkserver SOCKET_FD

It never touches media. A worker is forked from it before its own threads start, and takes nothing of it but memory.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys

from orchestrator.adapters.decoders import sandbox, worker
from orchestrator.adapters.decoders.engine import CRASHED
from orchestrator.adapters.decoders.wire import Message, encode, receive_with_descriptors, send_with_descriptors

# Decoding runs ahead of the models by a few batches: they and the service go first.
NICENESS = 10


def main(socket_fd: int) -> None:
    """Fork whenever it is asked for, and tell of each worker's end; returns when the service has closed the socket."""
    sandbox.die_with_parent()
    # A terminal's interrupt is meant for the service, which ends in its own time.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sandbox.step_back(NICENESS)
    channel = socket.socket(fileno=socket_fd)
    worker.warm_up()
    gc.collect()
    gc.freeze()  # what is never looked at stays shared
    if len(os.listdir("/proc/self/task")) > 1:
        raise RuntimeError("only a process of one thread can be forked safely")
    woken, wakes = socket.socketpair()
    woken.setblocking(False)
    wakes.setblocking(False)
    signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    channel.send(encode("ready"))
    while True:
        readable, _, _ = select.select([channel, woken], [], [])
        if woken in readable:
            woken.recv(4096)
            _reap(channel)
        if channel in readable:
            data, descriptors = receive_with_descriptors(channel, 1)
            if not data:
                return
            _fork(Message(data), descriptors[0], channel, (woken, wakes))
            os.close(descriptors[0])


def _fork(message: Message, worker_fd: int, channel: socket.socket, others: tuple[socket.socket, ...]) -> None:
    try:
        pid = os.fork()
    except OSError:
        channel.send(encode("refused"))
        return
    if pid == 0:
        status = CRASHED
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for each in (channel, *others):
                each.close()
            worker.main(worker_fd, message.integer("threads", 1), message.integer("address_space", 0))
            status = 0
        finally:
            os._exit(status)
    handle = os.pidfd_open(pid)
    send_with_descriptors(channel, encode("forked", pid=pid), [handle])
    os.close(handle)


def _reap(channel: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        channel.send(encode("ended", pid=pid, status=os.waitstatus_to_exitcode(status)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
