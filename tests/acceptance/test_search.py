"""The composite is found by what is in it: by the real command, through the real models."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from orchestrator.api import messages as pb
from orchestrator.api.client import ClientError, ReelsiftClient
from tests.acceptance.answers import Answer, reelsift
from tests.acceptance.conftest import Run
from tests.acceptance.server import Server

REASON = pb.SearchReason
INDEXED_SECONDS = 60.0


@pytest.fixture(scope="module")
def answer(run: Run) -> Answer:
    return run.answer


def asked(answer: Answer, query: str = "", **more: object) -> pb.SearchRequest:
    """A search in the composite alone: the server has other analyses, too."""
    return pb.SearchRequest(query=query, filter=pb.SearchFilter(analysis_ids=[answer.analysis_id]), **more)  # type: ignore[arg-type]


def holding(answer: Answer, label: str) -> set[int]:
    """Segments in which the stream told an object."""
    return {
        segment.index
        for segment in answer.segments
        for annotation in segment.annotations
        for track in annotation.objects.tracks
        if track.label == label
    }


async def test_objects_and_lines_are_found(client: ReelsiftClient, answer: Answer) -> None:
    bicycles = holding(answer, "bicycle")
    assert bicycles
    hits = (await client.search(asked(answer, "bicycles"))).hits
    by_object = {
        hit.segment.segment_index
        for hit in hits
        for reason in hit.reasons
        if (reason.kind, reason.matched) == (REASON.KIND_OBJECT, "bicycle")
    }
    assert by_object == bicycles
    assert hits[0].segment.segment_index in bicycles
    ferry = (await client.search(asked(answer, '"river ferry"'))).hits[0]
    assert (REASON.KIND_TEXT, "BREAKING NEWS: RIVER FERRY") in [(r.kind, r.matched) for r in ferry.reasons]
    segment = answer.segments[ferry.segment.segment_index]
    assert ferry.interval == segment.interval


async def test_meaning_finds_what_no_word_does(client: ReelsiftClient, answer: Answer) -> None:
    """Vectors come a moment after the segments."""
    began = time.monotonic()
    while True:
        hits = (await client.search(asked(answer, "cyclist"))).hits
        if hits or time.monotonic() - began > INDEXED_SECONDS:
            break
        await asyncio.sleep(0.1)
    assert hits[0].segment.segment_index in holding(answer, "bicycle")
    assert [reason.kind for reason in hits[0].reasons] == [REASON.KIND_MEANING]
    assert hits[0].reasons[0].score > 0.25


async def test_like_a_segment(client: ReelsiftClient, answer: Answer) -> None:
    like = pb.SegmentRef(analysis_id=answer.analysis_id, segment_index=1)
    hits = (await client.search(asked(answer, like=like))).hits
    assert 1 not in [hit.segment.segment_index for hit in hits]
    scores = [hit.reasons[0].score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert len(hits) == len(answer.segments) - 1
    with pytest.raises(ClientError) as refused:
        await client.search(asked(answer, like=pb.SegmentRef(analysis_id=answer.analysis_id, segment_index=10_000)))
    assert refused.value.reason == "NOT_FOUND"


async def test_pages_and_filters(client: ReelsiftClient, answer: Answer) -> None:
    request, found = asked(answer, page_size=4), []
    while True:
        page = await client.search(request)
        found += [hit.segment.segment_index for hit in page.hits]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert found == list(reversed(range(len(answer.segments))))
    faces = asked(answer, page_size=200)
    faces.filter.has_face = True
    with_face = {s.index for s in answer.segments for a in s.annotations if len(a.faces.faces)}
    assert {hit.segment.segment_index for hit in (await client.search(faces)).hits} == with_face
    assert with_face


def test_the_command_explains_its_hits(server: Server, answer: Answer) -> None:
    where = ("--analysis", answer.analysis_id, "--server", server.address)
    done = reelsift("search", '"river ferry"', *where)
    assert done.returncode == 0, done.stderr
    assert "text 'BREAKING NEWS: RIVER FERRY'" in done.stdout
    lines = reelsift("search", "--holds", "bicycle", "--json", *where).stdout.splitlines()
    assert {json.loads(line)["segment"].get("segmentIndex", 0) for line in lines} == holding(answer, "bicycle")
