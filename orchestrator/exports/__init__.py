"""Results as files of other tools: one module per format, described for users in ``ops/exports.md``.

The same analysis gives the same bytes, whoever asks and whenever. A module is imported when its format is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module

from orchestrator.core.exporting import FORMATS
from orchestrator.core.jobs import AnalysisRecord
from orchestrator.core.results import Segment
from orchestrator.errors import AnalysisNotEnded, InvalidRequest
from orchestrator.exports.subject import Subject

__all__ = ["export"]

CHUNK_BYTES = 256 * 1024


def export(record: AnalysisRecord, segments: Iterable[Segment], file_format: str) -> Iterator[bytes]:
    """The file, in pieces of at most ``CHUNK_BYTES``; none for an empty file.

    ``segments`` are all of the analysis, in order, and are taken one by one while the pieces are. ``file_format`` is one
    of ``core.exporting.FORMATS``. Raises ``InvalidRequest`` for another one, and for an analysis without a media;
    ``AnalysisNotEnded``. What a format cannot tell honestly raises ``InvalidRequest`` from the iterator: before the
    first piece, except where the module says otherwise.
    """
    if file_format not in FORMATS:
        raise InvalidRequest(f"there is no format {file_format!r}; known are {', '.join(FORMATS)}")
    if not record.state.ended:
        raise AnalysisNotEnded(f"the analysis is {record.state}; only an ended one can be exported")
    if record.started is None:
        raise InvalidRequest("the analysis ended before its media was opened: there is nothing to export")
    module = import_module(f"orchestrator.exports.{file_format}_file")
    return _chunks(module.write(Subject(record, record.started), segments))


def _chunks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of ``CHUNK_BYTES``, the last one shorter."""
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) >= CHUNK_BYTES:
            yield bytes(waiting[:CHUNK_BYTES])
            del waiting[:CHUNK_BYTES]
    if waiting:
        yield bytes(waiting)
