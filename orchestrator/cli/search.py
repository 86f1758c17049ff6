"""``reelsift search``."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from orchestrator.api import messages as pb
from orchestrator.api.client import connect
from orchestrator.cli import describe, loop
from orchestrator.cli.servers import DEFAULT, JsonOption, LabelOption, ServerOption, labels_of

PAGE = 200
_WORDS = {
    pb.SearchReason.KIND_LABEL: "label",
    pb.SearchReason.KIND_OBJECT: "object",
    pb.SearchReason.KIND_TEXT: "text",
    pb.SearchReason.KIND_MEANING: "meaning",
    pb.SearchReason.KIND_LOOK: "look",
}

Score = Annotated[float | None, typer.Option(min=0, max=1)]
Seconds = Annotated[float | None, typer.Option(min=0, help="Seconds.")]
Time = Annotated[datetime | None, typer.Option(help="A day or an instant, UTC.")]


def search(
    query: Annotated[str, typer.Argument(help='Words to find; quotes hold a "phrase" together.')] = "",
    like: Annotated[str, typer.Option(metavar="ANALYSIS:SEGMENT", help="Find what looks like this segment.")] = "",
    analysis: Annotated[list[str] | None, typer.Option(help="Only in this analysis; may be given again.")] = None,
    tenant: Annotated[str, typer.Option(help="Only of this tenant.")] = "",
    label: LabelOption = None,
    holds: Annotated[
        list[str] | None, typer.Option(metavar="CLASS", help="Only with this class in it; may be given again.")
    ] = None,
    min_score: Annotated[float, typer.Option(min=0, max=1, help="Least score of each --holds.")] = 0.0,
    min_moderation: Score = None,
    max_moderation: Score = None,
    face: Annotated[bool | None, typer.Option(help="Only with a face, or without one.")] = None,
    min_duration: Seconds = None,
    max_duration: Seconds = None,
    after: Time = None,
    before: Time = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    as_json: JsonOption = False,
    server: ServerOption = DEFAULT,
) -> None:
    """Find segments by words and meaning, or by the look of another segment; with neither, the newest ones.

    Every hit says why it was found. The filters count for all of them together.
    """
    request = pb.SearchRequest(query=query, page_size=min(limit, PAGE))
    if like:
        request.like.CopyFrom(_segment(like))
    where = request.filter
    where.analysis_ids.extend(analysis or ())
    where.tenant = tenant
    where.labels.update(labels_of(label))
    where.classes.extend(holds or ())
    where.min_score = min_score
    for name, value in (("min_moderation", min_moderation), ("max_moderation", max_moderation), ("has_face", face)):
        if value is not None:
            setattr(where, name, value)
    for duration, seconds in ((where.min_duration, min_duration), (where.max_duration, max_duration)):
        if seconds is not None:
            duration.FromNanoseconds(round(seconds * 1e9))
    for stamp, instant in ((where.created_after, after), (where.created_before, before)):
        if instant is not None:
            stamp.FromDatetime(instant if instant.tzinfo else instant.replace(tzinfo=UTC))
    loop.run(_show(server, request, limit, as_json=as_json))


async def _show(address: str, request: pb.SearchRequest, limit: int, *, as_json: bool) -> None:
    hits = [hit async for hit in _hits(address, request, limit)]
    if as_json:
        for hit in hits:
            sys.stdout.write(pb.to_json(hit) + "\n")
    elif hits:
        console = Console(highlight=False, soft_wrap=True)
        for hit in hits:
            console.print(_lines(hit))
    else:
        sys.stderr.write("nothing found\n")


async def _hits(address: str, request: pb.SearchRequest, limit: int) -> AsyncIterator[pb.SearchHit]:
    """At most ``limit`` hits, page after page."""
    left = limit
    async with connect(address) as client:
        while True:
            page = await client.search(request)
            for hit in page.hits[:left]:
                yield hit
            left -= len(page.hits)
            if left <= 0 or not page.next_page_token:
                return
            request.page_token = page.next_page_token


def _segment(text: str) -> pb.SegmentRef:
    name, _, number = text.rpartition(":")
    if not name or not number.isdecimal() or int(number) >= 1 << 31:
        raise typer.BadParameter(f"{text!r} is not ANALYSIS:SEGMENT", param_hint="--like")
    return pb.SegmentRef(analysis_id=name, segment_index=int(number))


def _lines(hit: pb.SearchHit) -> Text:
    """A hit on two lines: where it is, and why it was found. An id stays in one piece, to be copied."""
    where = describe.printable(f"{hit.segment.analysis_id}:{hit.segment.segment_index}")
    times = " - ".join(describe.clock(ns) for ns in (hit.interval.start_ns, hit.interval.end_ns))
    return Text.assemble((where, "bold"), f"  {times}\n", ("    " + ", ".join(map(_reason, hit.reasons)), "dim"))


def _reason(reason: pb.SearchReason) -> str:
    words = _WORDS.get(reason.kind, "other")
    matched = describe.printable(reason.matched)
    if reason.kind == pb.SearchReason.KIND_LABEL:
        matched = describe.short(matched)
    return f"{words} {matched!r} {reason.score:.2f}" if matched else f"{words} {reason.score:.2f}"
