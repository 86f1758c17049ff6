"""The GPU process: one for each GPU, with its CUDA context, its decoders and the arena's memory.

    python -m orchestrator.adapters.gpu.server SOCKET_FD ORDINAL

The service speaks to it in the messages of ``decoders.wire`` (JSON, with descriptors); decode workers in those of ``gpu.wire``, on
sockets that the service hands to both ends. It reads no container, and learns from no worker where it may write.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable

import structlog

from orchestrator.adapters.decoders import sandbox
from orchestrator.adapters.decoders.job import decode_tap
from orchestrator.adapters.decoders.wire import Message, encode, receive_with_descriptors
from orchestrator.adapters.gpu.device import Device
from orchestrator.adapters.gpu.sessions import Allowance, Session
from orchestrator.adapters.gpu.wire import Connection

MOST_DESCRIPTORS = 34  # of a session: its control and as many streams
OpenDevice = Callable[[int, int, int, bytes], Device]
"""Ordinal, descriptor of the arena's host memory, its size, and the handle of its memory on the device."""


def main(socket_fd: int, ordinal: int, open_device: OpenDevice) -> None:
    """Serve sessions; returns when the service has closed the socket."""
    sandbox.die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What is printed on standard output is NVDEC's: see nvdec.Output.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    channel = socket.socket(fileno=socket_fd)
    data, descriptors = receive_with_descriptors(channel, 1)
    if not data:
        return
    message = Message(data)
    device = open_device(ordinal, descriptors[0], message.raw("nbytes"), bytes.fromhex(message.raw("handle")))
    telling = threading.Lock()

    def tell(data: bytes) -> None:
        with telling, contextlib.suppress(OSError):
            channel.send(data)

    tell(encode("ready"))
    sessions: dict[int, Session] = {}
    while True:
        data, descriptors = receive_with_descriptors(channel, MOST_DESCRIPTORS)
        if not data:
            return
        message = Message(data)
        number: int = message.raw("session")
        if message.kind == "end":
            if number in sessions:  # else it has ended by itself
                sessions[number].close()
            continue
        allowance = Allowance(
            tuple(decode_tap(fields) for fields in message.raw("taps")),
            tuple(tuple(each) for each in message.raw("extents")),
            message.raw("max_pixels"),
        )

        def ended(number: int = number) -> None:
            sessions.pop(number, None)
            tell(encode("ended", session=number))

        control, *streams = [Connection(socket.socket(fileno=fd)) for fd in descriptors]
        session = sessions[number] = Session(device, allowance, ended)
        session.serve(control, streams)


def leave() -> None:
    """End at once: threads that wait in a driver must not hold the process."""
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    from orchestrator.adapters.gpu.cuda import CudaDevice

    main(int(sys.argv[1]), int(sys.argv[2]), CudaDevice.open)
    leave()
