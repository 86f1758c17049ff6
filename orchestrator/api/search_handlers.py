"""SearchService: requests to queries, hits to messages, and the gRPC service."""

from __future__ import annotations

import math
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from orchestrator.api import convert, requests
from orchestrator.api import messages as pb
from orchestrator.api.gen.reelsift.v1.search_pb2_grpc import SearchServiceServicer
from orchestrator.api.ports import Searches
from orchestrator.core.searching import Hit, Match, SearchFilter, SearchQuery, SegmentRef
from orchestrator.errors import InvalidRequest

MAX_QUERY_BYTES = 1024
MAX_CLASSES = 32
MAX_ANALYSES = 1000
MAX_PAGE_SIZE = 200
DEFAULT_PAGE_SIZE = 20

Context = grpc.aio.ServicerContext[Any, Any]


class SearchMethods:
    """The methods of SearchService, whatever transport carries them."""

    def __init__(self, searches: Searches) -> None:
        self._searches = searches

    async def search(self, request: pb.SearchRequest) -> pb.SearchResponse:
        """A page of segments. Raises ``InvalidRequest``, and what the application raises."""
        size = requests.page_size(request.page_size, DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        page = await self._searches.search(search_query(request), size, requests.page_token(request.page_token))
        return pb.SearchResponse(hits=[_hit(hit) for hit in page.hits], next_page_token=page.next_token)


class SearchHandlers(SearchServiceServicer):
    """The service over gRPC."""

    def __init__(self, searches: Searches) -> None:
        self._methods = SearchMethods(searches)

    async def Search(self, request: pb.SearchRequest, _: Context) -> pb.SearchResponse:  # noqa: N802
        return await self._methods.search(request)


def search_query(request: pb.SearchRequest) -> SearchQuery:
    """What ``request`` looks for."""
    words = requests.text("query", request.query, MAX_QUERY_BYTES)
    if request.HasField("like") and words.strip():
        raise InvalidRequest("a search is by words, or by likeness to a segment, not both")
    return SearchQuery(words, _like(request.like) if request.HasField("like") else None, _filter(request.filter))


def _like(like: pb.SegmentRef) -> SegmentRef:
    if like.segment_index < 0:
        raise InvalidRequest(f"segment_index must not be negative, got {like.segment_index}")
    return SegmentRef(requests.analysis_id(like.analysis_id), like.segment_index)


def _filter(given: pb.SearchFilter) -> SearchFilter:
    return SearchFilter(
        analysis_ids=requests.names("analysis_ids", given.analysis_ids, MAX_ANALYSES),
        tenant=requests.name("tenant", given.tenant) or None,
        labels=requests.labels(given.labels),
        classes=requests.names("classes", given.classes, MAX_CLASSES),
        min_score=_score("min_score", given.min_score),
        created_after=requests.time("created_after", given.created_after) if given.HasField("created_after") else None,
        created_before=requests.time("created_before", given.created_before)
        if given.HasField("created_before")
        else None,
        min_moderation=_score("min_moderation", given.min_moderation) if given.HasField("min_moderation") else None,
        max_moderation=_score("max_moderation", given.max_moderation) if given.HasField("max_moderation") else None,
        has_face=given.has_face if given.HasField("has_face") else None,
        min_duration_ns=_nanoseconds("min_duration", given.min_duration) if given.HasField("min_duration") else None,
        max_duration_ns=_nanoseconds("max_duration", given.max_duration) if given.HasField("max_duration") else None,
    )


def _score(what: str, given: float) -> float:
    if not (math.isfinite(given) and 0 <= given <= 1):
        raise InvalidRequest(f"{what} is 0 to 1, got {given:g}")
    return given


def _nanoseconds(what: str, given: Duration) -> int:
    nanoseconds = given.seconds * 1_000_000_000 + given.nanos
    if not 0 <= nanoseconds < 1 << 63:
        raise InvalidRequest(f"{what} is not negative and below 292 years, got {given.seconds} s")
    return nanoseconds


def _hit(hit: Hit) -> pb.SearchHit:
    return pb.SearchHit(
        segment=pb.SegmentRef(analysis_id=hit.segment.analysis_id, segment_index=hit.segment.index),
        interval=convert.interval(hit.interval, hit.time_base, hit.start_ns, hit.end_ns),
        score=hit.score,
        reasons=[_reason(match) for match in hit.matches],
    )


def _reason(match: Match) -> pb.SearchReason:
    kind = pb.SearchReason.Kind.Value(f"KIND_{match.kind.value}")
    return pb.SearchReason(kind=kind, matched=match.matched, score=match.score)
