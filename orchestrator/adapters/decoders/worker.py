"""The decode worker: forked warm, takes one job, locks itself in, decodes, and ends.

The job's message carries three descriptors: the media (read-only), its control page, and the frame arena, of which
only the job's own extents are mapped before the descriptor is closed. Where there is a GPU, its connections to the GPU process follow:
one that fills slots, and one for each decoding thread.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import mmap
import os
import socket
import threading
from collections.abc import Iterable

import av
import numpy as np

from orchestrator.adapters.decoders import sandbox
from orchestrator.adapters.decoders.container import make_decoder
from orchestrator.adapters.decoders.engine import Engine, parked
from orchestrator.adapters.decoders.job import Job, decode_job
from orchestrator.adapters.decoders.offload import Offload
from orchestrator.adapters.decoders.reading import ControlPage, MediaReader
from orchestrator.adapters.decoders.scaling import MemoryCanvas, Scaler
from orchestrator.adapters.decoders.wire import MAX_MESSAGE, Message, encode, receive_with_descriptors
from orchestrator.adapters.gpu.wire import Connection
from orchestrator.core.frames import View
from orchestrator.core.perceptual import likeness


def main(socket_fd: int, threads: int, address_space: int) -> None:
    """Serve one job; returns when the service has closed the socket."""
    sandbox.die_with_parent()
    channel = socket.socket(fileno=socket_fd)
    enter = threading.Event()
    engines: list[Engine] = []
    parked(enter, lambda: engines[0].demux(), "demux")
    for number in range(threads):
        parked(enter, lambda number=number: engines[0].work(number), f"decode-{number}")  # type: ignore[misc]
    channel.send(encode("ready"))
    data, descriptors = receive_with_descriptors(channel, 4 + threads)
    if not data:
        return
    job = decode_job(Message(data))
    media_fd, control_fd, arena_fd, *gpu_fds = descriptors
    page, slots = ControlPage(control_fd), map_slots(job, arena_fd)
    keep_only(channel.fileno(), media_fd, *gpu_fds)
    offload = Offload(*split(Connection(socket.socket(fileno=fd)) for fd in gpu_fds)) if gpu_fds else None
    sandbox.limit(address_space, job.limits.max_decode_seconds)
    sandbox.lock()
    engine = Engine(job, lambda starving: MediaReader(media_fd, page, starving), slots, channel.send, threads, offload)
    engines.append(engine)
    enter.set()
    serve(channel, engine)


def serve(channel: socket.socket, engine: Engine) -> None:
    """Follow the service's messages until it closes the socket."""
    while data := channel.recv(MAX_MESSAGE):
        message = Message(data)
        if message.kind == "grant":
            engine.sequencer.grant(message.integer("tap"), message.integer("slot"))
        elif message.kind == "hurry":
            engine.hurry(message.integer("through"))


def map_slots(job: Job, arena_fd: int) -> list[list[MemoryCanvas]]:
    """The job's slots, per tap."""
    slots = []
    for tap, offsets in zip(job.taps, job.extents, strict=True):
        shape = (tap.batch, tap.view.height, tap.view.width, 3)
        maps = [mmap.mmap(arena_fd, tap.slot_bytes, offset=offset) for offset in offsets]
        slots.append([MemoryCanvas(np.ndarray(shape, np.uint8, memory)) for memory in maps])
    return slots


def split(connections: Iterable[Connection]) -> tuple[Connection, list[Connection]]:
    """The first, and the others."""
    first, *others = connections
    return first, others


def keep_only(*descriptors: int) -> None:
    """Close every descriptor but the standard three (which lead to ``/dev/null``) and these."""
    edges = [2, *sorted(descriptors), os.sysconf("SC_OPEN_MAX")]
    for low, high in itertools.pairwise(edges):
        os.closerange(low + 1, high)


def warm_up() -> None:
    """Run the whole path on a tiny clip of our own, so that nothing is imported or loaded behind the lock. Leaves no
    threads.
    """
    av.logging.set_level(None)
    clip = io.BytesIO()
    with av.open(clip, "w", format="mp4") as muxer:
        encoder = muxer.add_stream("mpeg4", rate=25)
        encoder.width = encoder.height = 64
        encoder.pix_fmt = "yuv420p"
        for shade in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 40 * shade, np.uint8), "rgb24")
            muxer.mux(encoder.encode(frame))
        muxer.mux(encoder.encode(None))
    clip.seek(0)
    with av.open(clip) as demuxer:
        stream = demuxer.streams.video[0]
        decoder = make_decoder(stream, 64 * 64)
        for packet in demuxer.demux(stream):
            for shown in decoder.decode(packet if packet.size else None):
                likeness(Scaler(View(16, 16)).scale(shown, shown.rotation))
    with contextlib.suppress(av.FFmpegError, ValueError):
        av.open(io.BytesIO(b"no media at all"), options={"format_whitelist": "mov"})
