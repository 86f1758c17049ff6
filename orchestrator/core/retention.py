"""What of the past is kept, and what goes: by age, then by size, oldest first. Pure.

Nothing goes that an analysis needs which has not ended: neither its own things, nor the upload that it reads (retries
share one), nor the analysis whose annotations it takes over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from orchestrator.core.jobs import AnalysisRecord, SourceKind

ORPHANED_AFTER = timedelta(hours=1)  # a blob is there before the row that names it, by far less than this


class Kind(StrEnum):
    """Kinds of things that pile up."""

    UPLOADS = "uploads"
    THUMBNAILS = "thumbnails"
    REPORTS = "reports"
    ANALYSES = "analyses"  # segments and annotations; the other kinds go with them


PER_ANALYSIS = (Kind.THUMBNAILS, Kind.REPORTS)
"""Kinds whose blobs are named ``KIND/ANALYSIS/NAME``."""


class Reason(StrEnum):
    """Why something goes."""

    AGE = "age"
    BYTES = "bytes"
    ORPHAN = "orphan"  # nothing names it


@dataclass(frozen=True, slots=True)
class Policy:
    """How long things of a kind are kept after the end of their analysis, and how many bytes of them (``None``: without limit)."""

    max_age: timedelta | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.max_age is not None and self.max_age < timedelta():
            raise ValueError(f"an age cannot be negative, got {self.max_age}")
        if self.max_bytes is not None and self.max_bytes < 0:
            raise ValueError(f"a size cannot be negative, got {self.max_bytes}")


Policies = Mapping[Kind, Policy]


class Stored(Protocol):
    """A blob as its store lists it; ``age_ns`` since it was written."""

    @property
    def key(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def age_ns(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Item:
    """Something that is kept or goes as one: an upload by its id, or what an analysis has of another kind by the
    analysis' id. ``age``: since the last of the analyses that it is of ended (``None``: it is needed yet).
    ``owners``: it goes with the last of them."""

    kind: Kind
    name: str
    size: int
    age: timedelta | None
    owners: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Removal:
    """Something that goes, and why."""

    kind: Kind
    name: str
    size: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What went (or would go), and what was to go but could not, each with why."""

    removed: tuple[Removal, ...] = ()
    kept: tuple[tuple[Removal, str], ...] = ()

    @property
    def size(self) -> int:
        """Bytes of what went."""
        return sum(removal.size for removal in self.removed)


Weights = Mapping[tuple[Kind, str], int]
"""Bytes of each kind by analysis."""


def inventory(
    records: Iterable[AnalysisRecord],
    uploads: Iterable[Stored],
    blobs: Iterable[Stored],
    weights: Weights,
    now: datetime,
) -> tuple[list[Item], list[Removal]]:
    """Everything there is, and the orphans among it.

    ``uploads`` are keyed by upload id, ``blobs`` as ``KIND/ANALYSIS/NAME``; ``weights`` is what the database knows of. The
    records must have been read *after* the blobs were listed: then what is named by none of them is an orphan.
    """
    ages, readers = _facts(records, now)
    items = [Item(Kind.ANALYSES, name, weights.get((Kind.ANALYSES, name), 0), age) for name, age in ages.items()]
    items += [
        Item(kind, name, size, ages[name], frozenset({name}))
        for (kind, name), size in weights.items()
        if kind in PER_ANALYSIS and name in ages
    ]
    orphans: list[Removal] = []
    for upload in uploads:
        owners = frozenset(readers[upload.key])
        if owners:
            items.append(Item(Kind.UPLOADS, upload.key, upload.size, _last(map(ages.get, owners)), owners))
        elif _forgotten(upload):
            orphans.append(Removal(Kind.UPLOADS, upload.key, upload.size, Reason.ORPHAN))
    return items, orphans + _orphans(blobs, ages.keys())


def _orphans(blobs: Iterable[Stored], known: Container[str]) -> list[Removal]:
    """Folders of analyses that are not known, unless a blob came lately: then its row may be on its way."""
    sizes: dict[tuple[Kind, str], int] = defaultdict(int)
    young: set[tuple[Kind, str]] = set()
    for blob in blobs:
        place, _, rest = blob.key.partition("/")
        name, inside, _ = rest.partition("/")
        if place in PER_ANALYSIS and inside and name not in known:
            sizes[Kind(place), name] += blob.size
            if not _forgotten(blob):
                young.add((Kind(place), name))
    return [Removal(*which, size, Reason.ORPHAN) for which, size in sizes.items() if which not in young]


def _facts(records: Iterable[AnalysisRecord], now: datetime) -> tuple[dict[str, timedelta | None], dict[str, set[str]]]:
    """Time since the end of each analysis (``None`` where it is needed yet), and the analyses of each upload."""
    ages: dict[str, timedelta | None] = {}
    readers: dict[str, set[str]] = defaultdict(set)
    needed: set[str] = set()
    for record in records:
        ages[record.id] = None
        if record.state.ended and record.end_time is not None:
            ages[record.id] = max(timedelta(), now - record.end_time)
        else:
            needed |= {record.spec.retry_of, record.reuse.analysis_id if record.reuse else ""}
        if record.spec.source.kind is SourceKind.UPLOAD:
            readers[record.spec.source.name].add(record.id)
    return ages | dict.fromkeys(needed & ages.keys()), readers


def _last(ages: Iterable[timedelta | None]) -> timedelta | None:
    known = list(ages)
    return None if None in known else min(age for age in known if age is not None)


def _forgotten(blob: Stored) -> bool:
    return blob.age_ns > ORPHANED_AFTER // timedelta(microseconds=1) * 1000


def plan(items: Sequence[Item], policies: Policies) -> list[Removal]:
    """What goes, in the order in which to remove it: first analyses, then what is left without an owner, and the rest."""
    removals = {
        (removal.kind, removal.name): removal
        for kind, policy in policies.items()
        for removal in _of_kind(items, kind, policy)
    }
    gone = {name for kind, name in removals if kind is Kind.ANALYSES}
    for item in items:
        if item.owners and item.owners <= gone:
            because = removals[Kind.ANALYSES, min(item.owners)].reason
            removals.setdefault((item.kind, item.name), Removal(item.kind, item.name, item.size, because))
    return sorted(removals.values(), key=lambda removal: removal.kind is not Kind.ANALYSES)


def _of_kind(items: Sequence[Item], kind: Kind, policy: Policy) -> Iterable[Removal]:
    mine = [item for item in items if item.kind is kind]
    total = sum(item.size for item in mine)
    ended = [(item.age, item) for item in mine if item.age is not None]
    for age, item in sorted(ended, key=lambda pair: (-pair[0], pair[1].name)):
        if policy.max_age is not None and age > policy.max_age:
            reason = Reason.AGE
        elif policy.max_bytes is not None and total > policy.max_bytes and item.size:
            reason = Reason.BYTES
        else:
            continue
        total -= item.size
        yield Removal(kind, item.name, item.size, reason)
