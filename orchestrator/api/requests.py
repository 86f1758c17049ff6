"""From requests to the domain. Whatever a client may send is checked here; each function raises ``InvalidRequest``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from orchestrator.api import messages as pb
from orchestrator.core.jobs import AnalysisFilter, AnalysisSpec, AnalysisState, RetryFrom, SourceKind, SourceRef
from orchestrator.errors import InvalidRequest, NotFound

MAX_NAME_BYTES = 128  # of a request_id, a tenant, a profile, an analyzer, a label's key or value
MAX_PATH_BYTES = 4096
MAX_TOKEN_BYTES = 4096
MAX_ANALYZERS = 64
MAX_LABELS = 64
MAX_PAGE_SIZE = 1000
DEFAULT_PAGE_SIZE = 50

_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

_STATE_PREFIX = "ANALYSIS_STATE_"
_FORMAT_PREFIX = "EXPORT_FORMAT_"


def analysis_id(given: str) -> str:
    """An id that may exist. Raises ``NotFound`` for one that none of ours can be."""
    if not given:
        raise InvalidRequest("analysis_id is missing")
    if not _ID.fullmatch(given):
        raise NotFound("there is no such analysis")
    return given


def analysis_spec(config: pb.AnalysisConfig, *, bindable: bool = False) -> AnalysisSpec:
    """What ``config`` asks for. ``bindable``: the call can outlive the analysis, so ``cancel_on_disconnect`` has a meaning."""
    if config.cancel_on_disconnect and not bindable:
        raise InvalidRequest("cancel_on_disconnect belongs to Analyze: this call ends at once")
    if len(config.analyzers) > MAX_ANALYZERS:
        raise InvalidRequest(f"analyzers are at most {MAX_ANALYZERS}, got {len(config.analyzers)}")
    return AnalysisSpec(
        source=_source(config),
        profile=name("profile", config.profile) or "default",
        analyzers=tuple(name("an analyzer", each, required=True) for each in config.analyzers),
        tenant=name("tenant", config.tenant),
        request_id=name("request_id", config.request_id),
        priority=config.priority,
        deadline=time("deadline", config.deadline) if config.HasField("deadline") else None,
        labels=labels(config.labels),
        bound=config.cancel_on_disconnect,
        reuse=not config.ignore_known,
    )


def _source(config: pb.AnalysisConfig) -> SourceRef:
    match config.WhichOneof("source"):
        case "path":
            path = text("path", config.path, MAX_PATH_BYTES, required=True)
            return SourceRef(SourceKind.PATH, path)
        case "upload":
            size = config.upload.content_length if config.upload.HasField("content_length") else None
            if size is not None and size < 0:
                raise InvalidRequest(f"content_length must not be negative, got {size}")
            return SourceRef(SourceKind.UPLOAD, size=size)
        case _:
            raise InvalidRequest("the configuration names no source: set path or upload")


def list_query(request: pb.ListAnalysesRequest) -> tuple[AnalysisFilter, int, str]:
    """The filter, the size of the page and its token."""
    query = AnalysisFilter(
        tenant=name("tenant", request.tenant) or None,
        states=frozenset(_state(each) for each in request.states),
        labels=labels(request.labels),
        created_after=time("created_after", request.created_after) if request.HasField("created_after") else None,
        created_before=time("created_before", request.created_before) if request.HasField("created_before") else None,
    )
    return query, page_size(request.page_size, DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE), page_token(request.page_token)


def _state(number: pb.AnalysisState.ValueType) -> AnalysisState:
    if number == pb.AnalysisState.ANALYSIS_STATE_UNSPECIFIED or number not in pb.AnalysisState.values():
        raise InvalidRequest(f"there is no state {number}")
    return AnalysisState(pb.AnalysisState.Name(number).removeprefix(_STATE_PREFIX))


def retry_choice(request: pb.RetryAnalysisRequest) -> tuple[RetryFrom, str]:
    """What is done again, and the analyzer where one is named."""
    match request.WhichOneof("from_stage"):
        case "whole" if request.whole:
            return RetryFrom.WHOLE, ""
        case "failed_analyzers" if request.failed_analyzers:
            return RetryFrom.FAILED_ANALYZERS, ""
        case "analyzer":
            return RetryFrom.ANALYZER, name("analyzer", request.analyzer, required=True)
        case _:
            raise InvalidRequest("say what is done again: set whole, failed_analyzers or analyzer")


def export_format(number: pb.ExportFormat.ValueType) -> str:
    """The name of a file format, in lower case."""
    if number == pb.ExportFormat.EXPORT_FORMAT_UNSPECIFIED or number not in pb.ExportFormat.values():
        known = ", ".join(sorted(pb.ExportFormat.keys())[:-1])
        raise InvalidRequest(f"there is no format {number}; there are {known}")
    return pb.ExportFormat.Name(number).removeprefix(_FORMAT_PREFIX).lower()


def position(given: int) -> int:
    """A cursor of a log."""
    if given < 0:
        raise InvalidRequest(f"after_sequence must not be negative, got {given}")
    return given


def page_size(given: int, default: int, largest: int) -> int:
    """The size of a page; ``default`` for 0."""
    if not 0 <= given <= largest:
        raise InvalidRequest(f"page_size is 1 to {largest}, or 0 for {default}; got {given}")
    return given or default


def page_token(given: str) -> str:
    """A token that may be one of ours."""
    return text("page_token", given, MAX_TOKEN_BYTES)


def labels(given: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Labels in order of their keys."""
    if len(given) > MAX_LABELS:
        raise InvalidRequest(f"labels are at most {MAX_LABELS}, got {len(given)}")
    return tuple(
        (name("a label's key", key, required=True), name(f"the label {key!r}", given[key])) for key in sorted(given)
    )


def names(what: str, given: Iterable[str], most: int) -> tuple[str, ...]:
    """At most ``most`` names."""
    found = tuple(name(what, each, required=True) for each in given)
    if len(found) > most:
        raise InvalidRequest(f"{what}: at most {most}, got {len(found)}")
    return found


def name(what: str, given: str, *, required: bool = False) -> str:
    """A short text."""
    return text(what, given, MAX_NAME_BYTES, required=required)


def text(what: str, given: str, most: int, *, required: bool = False) -> str:
    """A text of at most ``most`` bytes without NUL, which neither paths nor PostgreSQL can hold."""
    size = len(given.encode())
    if size > most:
        raise InvalidRequest(f"{what} is at most {most} bytes, got {size}")
    if "\0" in given:
        raise InvalidRequest(f"{what} must not hold a NUL")
    if required and not given:
        raise InvalidRequest(f"{what} must not be empty")
    return given


def time(what: str, given: Timestamp) -> datetime:
    """A moment in UTC."""
    try:
        return given.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"{what} is no moment between the years 1 and 9999") from error
