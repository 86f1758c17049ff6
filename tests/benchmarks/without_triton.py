"""The service with ONNX Runtime inside its own process instead of Triton: what goal P4 compares with.

    python -m tests.benchmarks.without_triton ADDRESS PROFILE_DIR ROOT

Everything else is the service's own: decode workers, arena, pipeline, store, gRPC.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from orchestrator.adapters.frames.arena import Arena
from orchestrator.app import running_app
from orchestrator.cli import loop
from orchestrator.pipeline.telemetry import Telemetry
from orchestrator.ports import Inference
from orchestrator.settings import Settings
from tests.support.ort_inference import OrtInference


@asynccontextmanager
async def in_process(settings: Settings, _: Arena, __: Telemetry) -> AsyncIterator[Inference]:
    """Models inside this process."""
    yield OrtInference(settings.model_repository)


async def serve(address: str, profile_dir: Path, root: Path) -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    with tempfile.TemporaryDirectory(prefix="reelsift-bench-") as data:
        settings = Settings(
            listen=address,
            http_listen="",
            profile_dir=profile_dir,
            roots=(root,),
            data_dir=Path(data),
            embed_text=False,
            drain_seconds=0.0,
        )
        async with running_app(settings, in_process):
            await stop.wait()


if __name__ == "__main__":
    loop.run(serve(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
