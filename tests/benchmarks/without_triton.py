"""The service with ONNX Runtime inside its own process instead of Triton: what goal P4 compares with.

    python -m tests.benchmarks.without_triton ADDRESS PROFILE_DIR ROOT

Everything else is the service's own: decode workers, arena, pipeline, gRPC. Compare ``orchestrator/app.py``.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import AsyncExitStack, closing
from pathlib import Path

from orchestrator.adapters.decoders.process import ProcessDecoder
from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.sources.profiles import load_profiles
from orchestrator.adapters.sources.sources import Sources
from orchestrator.adapters.stores.memory import MemoryResultStore
from orchestrator.adapters.triton.labels import Labels
from orchestrator.api.server import grpc_server
from orchestrator.cli import loop
from orchestrator.pipeline.service import AnalysisService
from orchestrator.settings import Settings
from tests.support.ort_inference import OrtInference


async def serve(address: str, profile_dir: Path, root: Path) -> None:
    """Serve until SIGTERM."""
    settings = Settings(listen=address, profile_dir=profile_dir, roots=(root,))
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with AsyncExitStack() as stack:
        arena = stack.enter_context(closing(Arena(settings.arena_bytes)))
        decoder = ProcessDecoder(arena, threads=settings.decode_threads)
        stack.push_async_callback(decoder.close)
        await decoder.start()
        service = AnalysisService(
            decoder=decoder,
            inference=OrtInference(settings.model_repository),
            store=MemoryResultStore(),
            sources=Sources(settings.roots, settings.spool_dir, settings.max_upload_bytes),
            profiles=load_profiles(settings.profile_dir),
            names=Labels(settings.model_repository),
        )
        stack.push_async_callback(service.drain, 0.0)
        async with grpc_server(service, settings.listen):
            await stop.wait()


if __name__ == "__main__":
    loop.run(serve(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
