"""Showing an analysis as it goes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from rich.console import Console

from orchestrator.api import messages as pb
from orchestrator.api.client import ClientError, ReelsiftClient
from orchestrator.api.link import Responses
from orchestrator.cli.view import View

CANCEL_SECONDS = 10.0


async def follow(
    responses: Responses, title: str, *, as_json: bool, keep: bool = False
) -> tuple[list[pb.AnalyzeResponse], pb.Finished]:
    """Show each response; returns those to keep, and the last one's summary."""
    kept: list[pb.AnalyzeResponse] = []
    finished = pb.Finished()
    async with aclosing(responses):
        with JsonLines() if as_json else View(Console(highlight=False), title) as output:
            async for response in responses:
                output.show(response)
                if keep:
                    kept.append(response)
                if response.HasField("finished"):
                    finished = response.finished
    return kept, finished


async def cancelling(client: ReelsiftClient, responses: Responses) -> Responses:
    """``responses``; an interruption cancels their analysis at the server too, and says so."""
    async with aclosing(responses):
        first = await anext(responses, None)
        if first is None:
            return
        async with or_cancelled(client, first.analysis_id):
            yield first
            async for response in responses:
                yield response


@asynccontextmanager
async def or_cancelled(client: ReelsiftClient, analysis_id: str) -> AsyncIterator[None]:
    """An interruption of the context cancels the analysis at the server, and says so."""
    try:
        yield
    except asyncio.CancelledError:
        sys.stderr.write(await _cancel(client, analysis_id))
        raise


async def _cancel(client: ReelsiftClient, analysis_id: str) -> str:
    """Cancel an analysis; what to tell of it."""
    try:
        async with asyncio.timeout(CANCEL_SECONDS):
            await client.cancel(analysis_id)
    except (ClientError, TimeoutError):
        return f"reelsift: {analysis_id} could not be cancelled: `reelsift jobs cancel {analysis_id}`\n"
    return f"reelsift: cancelled {analysis_id}\n"


class JsonLines:
    """Prints each message as one line of protobuf JSON, at once."""

    def __enter__(self) -> JsonLines:
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()

    def show(self, response: pb.AnalyzeResponse) -> None:
        """Print ``response``."""
        print_json(response)


def print_json(message: pb.Message) -> None:
    """Print ``message`` as one line of protobuf JSON, at once."""
    sys.stdout.write(pb.to_json(message) + "\n")
    sys.stdout.flush()
