"""The whole service inside a command."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.serve import settings_with

if TYPE_CHECKING:
    from orchestrator.app import InferenceOf

DRAIN_SECONDS = 5.0  # an analysis that has answered may still be putting its things away


@asynccontextmanager
async def inside(
    given: Mapping[str, object], roots: Iterable[Path], inference_of: InferenceOf | None = None
) -> AsyncIterator[str]:
    """The whole service in this process, reachable through a private socket alone, with a memory that ends with it. Yields its address."""
    from orchestrator.app import running_app

    with tempfile.TemporaryDirectory(prefix="reelsift-") as folder:
        settings = settings_with(
            {
                **given,
                "listen": f"unix:{folder}/api",
                "roots": tuple(roots),
                "http_listen": "",
                "embed_text": False,
                "data_dir": Path(folder) / "data",
                "spool_dir": Path(folder) / "uploads",
                "database": "",
                "blobs": "",
                "disk_low_bytes": 16 << 20,  # a temporary folder may be small, and so is what goes there
                "disk_high_bytes": 32 << 20,
                "drain_seconds": DRAIN_SECONDS,
                "look_seconds": 0.0,  # who waits for one answer watches for himself
            }
        )
        async with running_app(settings, *([inference_of] if inference_of else [])) as address:
            yield address
