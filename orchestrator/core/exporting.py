"""The file formats that results are exported to. Pure; :mod:`orchestrator.exports` writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class FileFormat:
    """A file format: its name in requests, the usual suffix of its files, and its media type.

    ``binary``: not for a terminal.
    """

    name: str
    suffix: str
    media_type: str
    binary: bool = False


FORMATS: Mapping[str, FileFormat] = MappingProxyType(
    {
        each.name: each
        for each in (
            FileFormat("jsonl", ".jsonl", "application/x-ndjson"),
            FileFormat("parquet", ".parquet", "application/vnd.apache.parquet", binary=True),
            FileFormat("coco", ".json", "application/json"),
            FileFormat("webvtt", ".vtt", "text/vtt"),
            FileFormat("srt", ".srt", "application/x-subrip"),
            FileFormat("otio", ".otio", "application/json"),
            FileFormat("edl", ".edl", "text/plain"),
            FileFormat("csv", ".csv", "text/csv"),
        )
    }
)
