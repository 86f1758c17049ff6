"""An object store that cannot be reached, or refuses us, is said to be that."""

from __future__ import annotations

import socket
from datetime import timedelta

import pytest

from orchestrator.adapters.blobs.opening import open_blobs
from orchestrator.adapters.blobs.s3 import S3Blobs
from orchestrator.errors import SetupError, StoreUnavailable
from tests.support.s3 import KEYS


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


async def test_nobody_answers() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        blobs = S3Blobs("s3://bucket", endpoint=endpoint, patience=timedelta(milliseconds=1))
        with pytest.raises(StoreUnavailable):
            await blobs.put("a", b"")
        with pytest.raises(StoreUnavailable):
            await blobs.get("a")
        with pytest.raises(StoreUnavailable):
            await blobs.delete("a")
        with pytest.raises(StoreUnavailable):
            [info async for info in blobs.list()]


@pytest.mark.parametrize("url", ["s3://", "s3:", "bucket", "http://example.com/bucket"])
def test_what_is_no_bucket(url: str) -> None:
    with pytest.raises(SetupError, match="s3://BUCKET"):
        S3Blobs(url)


def test_an_address_chooses() -> None:
    assert isinstance(open_blobs("s3://bucket/prefix"), S3Blobs)
