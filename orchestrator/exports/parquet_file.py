"""Apache Parquet: one row per item of an annotation, one per empty answer, and one per segment.

Row groups are written as they fill: the memory is that of one, some 30 MB, and of the footer (a few KB per group).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.core.results import Segment
from orchestrator.exports.parquet_rows import SCHEMA, rows, weight
from orchestrator.exports.subject import Subject

GROUP_BYTES = 8 * 1024 * 1024  # rows go out when they may be so large


class _Pieces:
    """A file that keeps what was written until it is taken."""

    def __init__(self) -> None:
        self._written = bytearray()
        self.closed = False

    def write(self, data: bytes) -> int:
        self._written += memoryview(data)
        return len(data)

    def flush(self) -> None:
        """Nothing waits anywhere else."""

    def close(self) -> None:
        self.closed = True

    def take(self) -> bytes:
        """What was written since the last call."""
        data = bytes(self._written)
        self._written.clear()
        return data


def write(subject: Subject, segments: Iterable[Segment]) -> Iterator[bytes]:
    """The file. Its metadata under ``reelsift`` holds the facts of the media as JSON."""
    pieces = _Pieces()
    schema = SCHEMA.with_metadata({"reelsift": orjson.dumps(_facts(subject))})
    with pq.ParquetWriter(pa.PythonFile(pieces, mode="w"), schema, compression="zstd") as writer:
        waiting: list[dict[str, Any]] = []
        heavy = 0
        for segment in segments:
            waiting += rows(subject, segment)
            heavy += weight(segment)
            if heavy >= GROUP_BYTES:
                writer.write_table(pa.Table.from_pylist(waiting, schema))
                waiting, heavy = [], 0
                yield pieces.take()
        if waiting:
            writer.write_table(pa.Table.from_pylist(waiting, schema))
    yield pieces.take()


def _facts(subject: Subject) -> dict[str, Any]:
    media, rate = subject.media, subject.media.average_rate
    return {
        "analysis_id": subject.record.id,
        "name": subject.name,
        "container": media.container,
        "codec": media.codec,
        "width": media.width,
        "height": media.height,
        "rotation_degrees": media.rotation,
        "time_base": [media.time_base.numerator, media.time_base.denominator],
        "start_pts": media.start_pts,
        "average_frame_rate": None if rate is None else [rate.numerator, rate.denominator],
    }
