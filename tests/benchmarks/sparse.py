"""What our decoder costs by itself: CPU seconds of its processes for a whole clip, warm.

python -m tests.benchmarks.sparse CLIP 2|5|0|keyframes       # pictures per second (0: all), or the keyframes alone
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from fractions import Fraction
from pathlib import Path

import structlog

from orchestrator.adapters.decoders.process import ProcessDecoder
from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.sources.path import PathSource
from orchestrator.core.frames import FrameBatch, Tap, View
from orchestrator.core.sampling import Sampling
from orchestrator.ports import DecodeRequest
from tests.benchmarks.cpu import settle, tree_cpu


async def decode(clip: Path, sampling: Sampling) -> dict[str, float]:
    """Pictures of the labels' size that were delivered, and the CPU seconds of all processes for them."""
    with Arena(64 << 20) as arena:
        decoder = ProcessDecoder(arena)
        await decoder.start()
        tap = Tap(View(224, 224), sampling, 8)
        cpu = pictures = 0.0
        for _ in range(2):  # the first one has the fork server come up
            await asyncio.to_thread(settle, os.getpid())
            cpu = tree_cpu(os.getpid())
            pictures = await delivered(decoder, clip, tap)
            await asyncio.sleep(0.2)  # the worker's end is accounted for when it has been reaped
            cpu = tree_cpu(os.getpid()) - cpu
        await decoder.close()
    return {"cpu": cpu, "pictures": pictures}


async def delivered(decoder: ProcessDecoder, clip: Path, tap: Tap) -> int:
    """Decode the whole clip; the pictures that came."""
    pictures = 0
    with PathSource(clip, [clip.parent]) as source:
        async with decoder.open(source, DecodeRequest((tap,))) as session:
            async for event in session.events():
                if isinstance(event, FrameBatch):
                    pictures += len(event.rows)
                    if event.slot is not None:
                        event.slot.release()
    return pictures


def main(clip: str, what: str) -> None:
    """Decode, print."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    fps = None if what in ("0", "keyframes") else Fraction(what)
    result = asyncio.run(decode(Path(clip), Sampling(fps, what == "keyframes")))
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
