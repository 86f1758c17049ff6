"""The blob store of an address."""

from __future__ import annotations

from pathlib import Path

from orchestrator.adapters.blobs.local import LocalBlobs
from orchestrator.ports import BlobStore


def open_blobs(address: str | Path, endpoint: str = "") -> BlobStore:
    """``s3://BUCKET/PREFIX`` (at ``endpoint``, see ``S3Blobs``), or a local folder. Raises ``SetupError``."""
    if str(address).startswith("s3://"):
        from orchestrator.adapters.blobs.s3 import S3Blobs  # 30 ms, which a local folder does not need

        return S3Blobs(str(address), endpoint=endpoint)
    return LocalBlobs(Path(address))
