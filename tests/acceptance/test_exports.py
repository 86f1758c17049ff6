"""The composite as files of other tools, from the real server: each reader finds what the stream told."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

import opentimelineio as otio
import pyarrow.parquet as pq
import pysubs2
import pytest

from orchestrator.api.client import ClientError, ReelsiftClient
from orchestrator.core.exporting import FORMATS
from tests.acceptance.answers import Answer, annotation, assert_same, parse, reelsift
from tests.acceptance.conftest import Run
from tests.acceptance.server import REELSIFT, Server, environment


@pytest.fixture(scope="module")
def answer(run: Run) -> Answer:
    return run.answer


@pytest.fixture(scope="module")
def files(server: Server, answer: Answer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every format, by the real command."""
    folder = tmp_path_factory.mktemp("exports")
    made = {name: folder / f"composite-{name}{each.suffix}" for name, each in FORMATS.items()}
    for name, path in made.items():
        done = reelsift("export", answer.analysis_id, "--to", name, "-o", path, "--server", server.address)
        assert done.returncode == 0, done.stderr
    return made


def bounds(answer: Answer) -> list[tuple[int, int]]:
    return [(segment.interval.start_frame, segment.interval.end_frame) for segment in answer.segments]


def test_jsonl_is_the_stream_again(files: dict[str, Path], answer: Answer) -> None:
    told = parse(files["jsonl"].read_bytes().decode().split("\n")[:-1])
    assert_same(told, answer)
    assert told.analysis_id == answer.analysis_id
    assert told.media == answer.media
    assert told.finished == answer.finished


def test_parquet_has_every_item(files: dict[str, Path], answer: Answer) -> None:
    rows = pq.read_table(files["parquet"]).to_pylist()
    assert [row["thumbnail"] for row in rows if row["kind"] == "segment"] == [s.thumbnail.jpeg for s in answer.segments]
    vectors = [row["vector"] for row in rows if row["kind"] == "similarity"]
    assert vectors == [list(annotation(s, "similarity").similarity.vector) for s in answer.segments]
    sightings = [point for row in rows if row["kind"] == "objects" for point in row["points"] or ()]
    told = [
        point for s in answer.segments for track in annotation(s, "objects").objects.tracks for point in track.points
    ]
    assert [(each["frame"], each["offset_ns"]) for each in sightings] == [
        (point.position.frame, point.position.offset_ns) for point in told
    ]


def test_csv_and_coco_count_the_same(files: dict[str, Path], answer: Answer) -> None:
    with files["csv"].open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert [(int(row["start_frame"]), int(row["end_frame"])) for row in rows] == bounds(answer)
    coco = json.loads(files["coco"].read_bytes())
    tracks = {(each["segment_index"], each["track_id"]) for each in coco["annotations"]}
    assert sum(count for row in rows for _, count in json.loads(row["objects"])) == len(tracks) > 5


def test_timelines_are_cut_at_the_same_frames(files: dict[str, Path], answer: Answer) -> None:
    timeline = otio.adapters.read_from_file(str(files["otio"]))
    edl = otio.adapters.read_from_string(files["edl"].read_text(), "cmx_3600", rate=25)
    for each in (timeline, edl):
        ranges = [clip.source_range for clip in each.find_clips()]
        assert [(place.start_time.value, place.end_time_exclusive().value) for place in ranges] == bounds(answer)
        assert {place.start_time.rate for place in ranges} == {25}


def test_subtitles_show_what_was_read(files: dict[str, Path], answer: Answer) -> None:
    cues = pysubs2.load(str(files["webvtt"]), format_="vtt")
    ends = [(s.interval.start_ns // 1_000_000, s.interval.end_ns // 1_000_000) for s in answer.segments]
    assert [(cue.start, cue.end) for cue in cues] == ends
    texts = [line.text for s in answer.segments for line in annotation(s, "text").text.lines]
    assert [cue.text for cue in pysubs2.load(str(files["srt"]), format_="srt")] == texts
    assert "REELSIFT DEMO 2026" in texts


async def test_pieces_over_the_wire_are_the_files(
    files: dict[str, Path], answer: Answer, client: ReelsiftClient
) -> None:
    for name, path in files.items():
        pieces = [piece async for piece in client.export(answer.analysis_id, name)]
        assert b"".join(pieces) == path.read_bytes(), name


async def test_an_unknown_analysis_has_no_export(client: ReelsiftClient) -> None:
    with pytest.raises(ClientError) as caught:
        async for _ in client.export("0" * 32, "jsonl"):
            pass
    assert caught.value.reason == "NOT_FOUND"


def test_text_goes_through_a_pipe(server: Server, answer: Answer, files: dict[str, Path]) -> None:
    line = [str(REELSIFT), "export", answer.analysis_id, "--to", "csv", "--server", server.address]
    done = subprocess.run(line, capture_output=True, timeout=60, env=environment(), check=True)
    assert done.stdout == files["csv"].read_bytes()
    assert done.stdout.startswith(b"analysis_id,")
