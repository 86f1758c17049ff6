"""What a running analysis leaves behind: segments with their checkpoints, and the log as readers see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from sqlalchemy import Connection, RowMapping, delete, insert, select

from orchestrator.adapters.stores.codec import decode, decode_json, encode, encode_json, to_us
from orchestrator.adapters.stores.rows import change, find
from orchestrator.adapters.stores.schema import analyses, analyzer_keys, checkpoints, memos
from orchestrator.adapters.stores.segments import read_segments, write_segment
from orchestrator.core.jobs import AnalysisState, AnalyzerKey, Checkpoint, ReusePlan
from orchestrator.core.media import LedgerMark
from orchestrator.core.results import Failed, Finished, LoggedEvent, Segment, SegmentClosed, Started
from orchestrator.errors import InternalError

Indexer = Callable[[Connection, RowMapping, Segment], None]
"""Puts a segment where search finds it, inside the transaction that commits it. Given the row of its analysis."""

Memo = dict[str, object]
Log = list[tuple[int, LoggedEvent]]


def commit_segment(
    connection: Connection,
    row: RowMapping,
    segment: Segment,
    checkpoint: Checkpoint,
    indexers: Sequence[Indexer],
    now: datetime,
) -> int:
    """Insert the next segment and the checkpoint behind it; returns its position in the log.

    The last one again is no error: whoever lost the answer to a commit repeats it.
    """
    analysis_id, number = row["id"], segment.index
    if checkpoint.segments != number + 1:
        raise InternalError(f"a checkpoint of {checkpoint.segments} segments does not lie behind segment {number}")
    if number == row["segments"] - 1 and _stored(connection, analysis_id, segment, checkpoint):
        return number + 2
    if row["started"] is None or number != row["segments"]:
        raise InternalError(f"segment {number} is not the next one after {row['segments']}")
    write_segment(connection, analysis_id, segment, now)
    for index in indexers:
        index(connection, row, segment)
    _write_checkpoint(connection, analysis_id, checkpoint)
    change(
        connection,
        analysis_id,
        segments=number + 1,
        last_sequence=number + 2,
        interruptions=0,
        beats=row["beats"] + 1,
        progress_us=to_us(now),
    )
    return number + 2


def _stored(connection: Connection, analysis_id: str, segment: Segment, checkpoint: Checkpoint) -> bool:
    newest = connection.execute(select(checkpoints).where(checkpoints.c.analysis_id == analysis_id)).mappings().one()
    same = newest == _checkpoint_row(analysis_id, checkpoint)
    return same and read_segments(connection, analysis_id, segment.index, 1)() == [segment]


def _checkpoint_row(analysis_id: str, checkpoint: Checkpoint) -> dict[str, object]:
    return {
        "analysis_id": analysis_id,
        "segments": checkpoint.segments,
        "next_frame": checkpoint.next_frame,
        "state": encode_json(checkpoint.state),
        "ledger": encode(LedgerMark, checkpoint.ledger),
        "forget": checkpoint.forget,
    }


def _write_checkpoint(connection: Connection, analysis_id: str, checkpoint: Checkpoint) -> None:
    connection.execute(delete(checkpoints).where(checkpoints.c.analysis_id == analysis_id))
    connection.execute(insert(checkpoints).values(_checkpoint_row(analysis_id, checkpoint)))
    if checkpoint.forget:
        connection.execute(delete(memos).where(memos.c.analysis_id == analysis_id))
    memo = {"analysis_id": analysis_id, "segment": checkpoint.segments - 1, "body": encode_json(checkpoint.memo)}
    connection.execute(insert(memos).values(memo))


def read_checkpoint(connection: Connection, analysis_id: str) -> tuple[Checkpoint, list[Memo]] | None:
    """The newest checkpoint and the memos that count, its own last; ``None`` before the first and after the end."""
    row = connection.execute(select(checkpoints).where(checkpoints.c.analysis_id == analysis_id)).one_or_none()
    if row is None:
        find(connection, analysis_id)
        return None
    query = select(memos.c.body).where(memos.c.analysis_id == analysis_id).order_by(memos.c.segment)
    noted: list[Memo] = [decode_json(body) for body in connection.execute(query).scalars()]
    checkpoint = Checkpoint(
        segments=row.segments,
        next_frame=row.next_frame,
        state=decode_json(row.state),
        ledger=decode(LedgerMark, row.ledger),
        memo=noted[-1],
        forget=row.forget,
    )
    return checkpoint, noted


def read_log(connection: Connection, analysis_id: str, after: int, limit: int) -> Callable[[], Log]:
    """At most ``limit`` events with positions above ``after``; what comes back makes them, as ``read_segments`` does."""
    row = find(connection, analysis_id)
    first, end = max(after, 0) + 1, min(max(after, 0) + limit, row["last_sequence"]) + 1
    from_segment, to_segment = max(first - 2, 0), min(end - 2, row["segments"])
    segments = read_segments(connection, analysis_id, from_segment, max(0, to_segment - from_segment))

    def make() -> Log:
        log: Log = []
        if first == 1 < end and row["started"] is not None:
            log.append((1, decode(Started, row["started"])))
        log.extend((segment.index + 2, SegmentClosed(segment)) for segment in segments())
        if first <= row["last_sequence"] < end and AnalysisState(row["state"]).ended:
            final = decode(Failed, row["failure"]) if row["result"] is None else decode(Finished, row["result"])
            log.append((row["last_sequence"], final))
        return log

    return make


def known(connection: Connection, digest: str, keys: Sequence[AnalyzerKey]) -> ReusePlan | None:
    """The whole analysis of these bytes that holds the most of ``keys``; the newest among equals."""
    query = (
        select(analyses.c.id, analyzer_keys.c.analyzer, analyzer_keys.c.key)
        .join(analyzer_keys, analyzer_keys.c.analysis_id == analyses.c.id)
        .where(analyses.c.content_digest == digest, analyses.c.whole)
        .where(analyzer_keys.c.analyzer.in_([each.analyzer for each in keys]))
        .order_by(analyses.c.create_us.desc(), analyses.c.id.desc())
    )
    wanted, held = set(keys), dict[str, set[str]]()
    for row in connection.execute(query):
        if AnalyzerKey(row.analyzer, row.key) in wanted:
            held.setdefault(row.id, set()).add(row.analyzer)
    if not held:
        return None
    best = max(held, key=lambda analysis_id: len(held[analysis_id]))  # the first of equals
    return ReusePlan(best, tuple(each.analyzer for each in keys if each.analyzer in held[best]))
