"""What holds of every format: the same bytes each time, in small pieces, taken one by one, or a clear refusal."""

from __future__ import annotations

import gc
import hashlib
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings

from orchestrator.api import messages as pb
from orchestrator.core.exporting import FORMATS
from orchestrator.core.jobs import AnalysisState
from orchestrator.core.results import Annotation, At, Segment, Similarity, Thumbnail
from orchestrator.core.timeline import Interval
from orchestrator.errors import AnalysisNotEnded, InvalidRequest
from orchestrator.exports import CHUNK_BYTES, export, parquet_file
from tests.unit.exports.made import Made, analyses, composite, media, record

STREAMING = ("jsonl", "csv", "webvtt", "srt", "parquet", "coco")


def test_the_formats_are_those_of_the_api() -> None:
    named = {name.removeprefix("EXPORT_FORMAT_").lower() for name in pb.ExportFormat.keys()} - {"unspecified"}  # noqa: SIM118
    assert set(FORMATS) == named


@pytest.mark.parametrize("file_format", FORMATS)
@settings(max_examples=15, deadline=None)
@given(made=analyses(steady=True))
def test_the_same_analysis_gives_the_same_bytes(file_format: str, made: Made) -> None:
    assert made.file(file_format) == made.file(file_format)


def test_another_process_gives_the_same_bytes() -> None:
    program = (
        "import hashlib\n"
        "from orchestrator.core.exporting import FORMATS\n"
        "from tests.unit.exports.made import composite\n"
        "for name in FORMATS: print(name, hashlib.sha256(composite().file(name)).hexdigest())\n"
    )
    line = [sys.executable, "-c", program]
    root = Path(__file__).parents[3]
    told = subprocess.run(
        line, capture_output=True, text=True, check=True, cwd=root, env={"PYTHONHASHSEED": "7"}
    ).stdout
    made = composite()
    expected = [f"{name} {hashlib.sha256(made.file(name)).hexdigest()}" for name in FORMATS]
    assert told.splitlines() == expected


@pytest.mark.parametrize("file_format", FORMATS)
def test_an_analysis_without_segments_is_a_file_too(file_format: str) -> None:
    assert isinstance(Made(record(media()), ()).file(file_format), bytes)


def test_what_cannot_be_exported_is_refused_at_once() -> None:
    made = composite()
    with pytest.raises(InvalidRequest, match=r"'pdf'.*jsonl"):
        export(made.record, (), "pdf")
    with pytest.raises(InvalidRequest, match="before its media was opened"):
        export(replace(made.record, started=None), (), "csv")
    for state in (AnalysisState.QUEUED, AnalysisState.RUNNING):
        with pytest.raises(AnalysisNotEnded):
            export(replace(made.record, state=state), (), "csv")


@pytest.mark.parametrize("state", [AnalysisState.FAILED, AnalysisState.CANCELLED, AnalysisState.QUARANTINED])
def test_what_an_unlucky_analysis_found_is_exported(state: AnalysisState) -> None:
    made = composite()
    unlucky = Made(replace(made.record, state=state, result=None), made.segments)
    assert unlucky.file("csv") == made.file("csv")


def heavy(count: int) -> Iterator[Segment]:
    """Segments of some 20 KB each, which do not compress."""
    vectors = [tuple(byte / 256 for byte in Random(turn).randbytes(512)) for turn in range(8)]
    for index in range(count):
        interval = Interval(index * 25, index * 25 + 25, index * 12800, (index + 1) * 12800)
        vector = Annotation("similarity", (), Similarity(vectors[index % 8]), 2)
        picture = Thumbnail(Random(index).randbytes(8192), At(index * 25, index * 12800), 320, 180)
        yield Segment(index, interval, (vector,), picture, index == count - 1)


@pytest.mark.parametrize("file_format", STREAMING)
def test_memory_does_not_grow_with_the_analysis(file_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_file, "GROUP_BYTES", 1 << 20)

    def peak(count: int) -> int:
        gc.collect()
        tracemalloc.start()
        try:
            for piece in export(record(media()), heavy(count), file_format):
                assert len(piece) <= CHUNK_BYTES
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)  # imports
    small, large = peak(200), peak(600)
    assert large < small * 1.3 + 200_000, (small, large)


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_the_first_piece_comes_before_the_last_segment_is_read(file_format: str) -> None:
    taken = 0

    def counted() -> Iterator[Segment]:
        nonlocal taken
        for segment in heavy(900):
            taken += 1
            yield segment

    pieces = export(record(media()), counted(), file_format)
    next(pieces)
    assert 0 < taken < 900


def test_pieces_are_cut_to_size() -> None:
    sizes = [len(piece) for piece in export(record(media()), heavy(100), "jsonl")]
    assert len(sizes) > 3
    assert set(sizes[:-1]) == {CHUNK_BYTES}
    assert 0 < sizes[-1] <= CHUNK_BYTES
