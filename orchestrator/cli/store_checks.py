"""The doctor's checks of a store: whether everything that was promised is there, and what is there without need.

They look at the store as it is at one instant, beside a server that is using it: at a copy of an embedded database, inside
one transaction of a shared one.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from rich.filesize import decimal

from orchestrator.adapters.blobs.local import LocalBlobs
from orchestrator.adapters.stores import snapshot_sqlite, sqlite
from orchestrator.adapters.stores.audit import Finding, audit
from orchestrator.adapters.stores.beside import open_beside
from orchestrator.adapters.stores.keeping import SqlPast
from orchestrator.adapters.stores.snapshots import named_by
from orchestrator.adapters.stores.sql import SqlAnalysisStore
from orchestrator.cli.checks import Check, State
from orchestrator.cli.places import Places
from orchestrator.core.retention import Removal
from orchestrator.errors import ReelsiftError, SetupError
from orchestrator.pipeline.cleanup import Cleaner
from orchestrator.ports import BlobStore

SHOWN = 3
MEND = "restore a backup (reelsift restore), or delete the analyses that are named"


async def examine_store(places: Places) -> list[Check]:
    """Every check of the store."""
    # Uploads grow and blobs come before the rows that name them, so what is named now is there when it is listed later.
    uploads = LocalBlobs(places.uploads)
    try:
        async with _at_one_instant(places.database) as store:
            findings = await store.run(audit)
            named = await store.run(named_by)
            orphans = await _orphans(store, places.blobs, uploads)
    except SetupError as error:
        return [Check("store", State.FAIL, str(error), "see the message")]
    except ReelsiftError as error:
        return [Check("store", State.FAIL, str(error), MEND)]
    return [
        *map(_rule, findings),
        await _there("blobs", named.blobs, places.blobs, exactly=True),
        await _there("uploads", named.uploads, uploads, exactly=False),
        _orphan_check(orphans),
    ]


@asynccontextmanager
async def _at_one_instant(target: str | Path) -> AsyncIterator[SqlAnalysisStore]:
    if not isinstance(target, Path):
        async with open_beside(target) as store:
            yield store
        return
    file = target / sqlite.FILE_NAME
    if not file.is_file():
        raise SetupError("there is no database in this data directory: name the server's with REELSIFT_DATA_DIR")
    with tempfile.TemporaryDirectory(prefix="reelsift-doctor-") as folder:
        await asyncio.to_thread(snapshot_sqlite.copy, file, Path(folder) / sqlite.FILE_NAME)
        async with open_beside(Path(folder)) as store:
            yield store


def _rule(finding: Finding) -> Check:
    if not finding.count:
        return Check(finding.rule, State.OK, "holds")
    more = f" and {finding.count - len(finding.who)} more" if finding.count > len(finding.who) else ""
    return Check(finding.rule, State.FAIL, f"broken by {', '.join(finding.who)}{more}", MEND)


async def _there(name: str, named: Mapping[str, int], blobs: BlobStore, *, exactly: bool) -> Check:
    """Whether what the database names is there and as long as it should be (``exactly``, or at least)."""
    try:
        found = {info.key: info.size async for info in blobs.list()} if named else {}
    except ReelsiftError as error:
        return Check(name, State.FAIL, str(error), "make the blob store answer")
    missing = [key for key in named if key not in found]
    wrong = [
        key for key, size in named.items() if key in found and (found[key] != size if exactly else found[key] < size)
    ]
    if not missing and not wrong:
        return Check(name, State.OK, f"{len(named):,} named, all there")
    said = [f"{len(keys):,} {what}: {_some(keys)}" for what, keys in (("missing", missing), ("cut off", wrong)) if keys]
    return Check(name, State.FAIL, "; ".join(said), MEND)


async def _orphans(store: SqlAnalysisStore, blobs: BlobStore, uploads: BlobStore) -> list[Removal]:
    """What nothing names, as a clean-up without policies finds it."""
    return await Cleaner(store, SqlPast(store.database), blobs, uploads).look()


def _orphan_check(orphans: Sequence[Removal]) -> Check:
    if not orphans:
        return Check("orphans", State.OK, "none")
    found = _some([f"{orphan.kind.value}/{orphan.name}" for orphan in orphans])
    size = decimal(sum(orphan.size for orphan in orphans))
    return Check("orphans", State.WARN, f"{len(orphans):,} ({size}) that nothing names: {found}", "reelsift cleanup")


def _some(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:SHOWN])
    return shown if len(keys) <= SHOWN else f"{shown} and {len(keys) - SHOWN:,} more"
