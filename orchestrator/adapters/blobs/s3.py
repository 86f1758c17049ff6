"""Blobs in an S3-compatible object store, through obstore (the only place that imports it)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from orchestrator.adapters.blobs.keys import checked, folder_of
from orchestrator.errors import NotFound, SetupError, StoreUnavailable
from orchestrator.ports import BlobInfo

TIMEOUT = timedelta(seconds=30)  # of one request
PATIENCE = timedelta(seconds=60)  # with a store that fails, before its error is ours


class S3Blobs:
    """A ``BlobStore`` in a bucket.

    ``url``: ``s3://BUCKET/PREFIX``. ``endpoint``: where the store is, for one that is not Amazon's
    (``http://HOST:PORT``). Keys and region come from the environment as every S3 client reads it (``AWS_ACCESS_KEY_ID``,
    ``AWS_SECRET_ACCESS_KEY``, ``AWS_REGION``). An object store shows an object only when it has it whole and safe.
    """

    def __init__(self, url: str, *, endpoint: str = "", patience: timedelta = PATIENCE) -> None:
        try:
            self._store = S3Store.from_url(
                url,
                config={"endpoint": endpoint} if endpoint else None,
                client_options={"timeout": TIMEOUT, "allow_http": endpoint.startswith("http://")},
                retry_config={"max_retries": 10, "retry_timeout": patience},
            )
        except (BaseError, ValueError) as error:
            raise SetupError(f"no object store can be reached as {url!r}: give s3://BUCKET/PREFIX") from error

    async def put(self, key: str, data: bytes) -> None:
        """See ``BlobStore.put``. Raises ``ValueError`` for a key that is none, ``StoreUnavailable``."""
        with _translated(checked(key)):
            await self._store.put_async(key, data)

    async def get(self, key: str) -> bytes:
        """See ``BlobStore.get``. Raises ``StoreUnavailable``."""
        with _translated(checked(key)):
            found = await self._store.get_async(key)
            return bytes(await found.bytes_async())

    async def delete(self, key: str) -> None:
        """See ``BlobStore.delete``. Raises ``StoreUnavailable``."""
        with _translated(checked(key)):
            try:
                await self._store.delete_async(key)
            except (FileNotFoundError, NotFoundError):
                return  # some stores say so, Amazon's does not

    async def list(self, prefix: str = "") -> AsyncIterator[BlobInfo]:
        """See ``BlobStore.list``; ages are by this machine's clock. Raises ``StoreUnavailable``."""
        # obstore takes whole parts alone for a prefix. S3 lists in order of key.
        listing = self._store.list(folder_of(prefix).rstrip("/") or None)
        while True:
            with _translated(prefix):
                chunk = await anext(listing, None)
            if chunk is None:
                return
            now = datetime.now(UTC)
            for found in chunk:
                if found["path"].startswith(prefix):
                    age = (now - found["last_modified"]) // timedelta(microseconds=1) * 1000
                    yield BlobInfo(found["path"], found["size"], max(0, age))


@contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotFoundError) as error:  # obstore raises the one or the other
        raise NotFound(f"no blob {key}") from error
    except (PermissionError, PermissionDeniedError, UnauthenticatedError) as error:
        raise SetupError("the object store refuses this service's keys (AWS_ACCESS_KEY_ID)") from error
    except (BaseError, OSError) as error:
        raise StoreUnavailable("the object store does not answer") from error
