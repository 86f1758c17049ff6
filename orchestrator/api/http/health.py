"""Whether the process lives, whether it can do its work, and what it has done."""

from __future__ import annotations

import asyncio
import json

import structlog
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api.http.errors import JSON
from orchestrator.api.http.route import Services

log = structlog.get_logger(__name__)

PROMETHEUS_TEXT = "text/plain; version=0.0.4; charset=utf-8"
READY_SECONDS = 5.0


async def live(request: Request, services: Services) -> Response:
    """The event loop turns."""
    return _answer({"live": True}, 200)


async def ready(request: Request, services: Services) -> Response:
    """What the service needs is there: 200, else 503."""
    checks: dict[str, bool] = {}
    answered = False
    try:
        async with asyncio.timeout(READY_SECONDS):
            checks = dict(await services.ready())
        answered = True
    except Exception as error:
        log.warning("http.readiness_unknown", error=type(error).__name__)
    fit = answered and all(checks.values())
    return _answer({"ready": fit, "checks": checks}, 200 if fit else 503)


async def metrics(request: Request, services: Services) -> Response:
    """Every metric, in the form that the client takes. Its media type says whether that is OpenMetrics."""
    page, content_type = await asyncio.to_thread(services.telemetry.page, request.headers.get("accept", ""))
    return Response(page, 200, {"Content-Type": content_type, "Cache-Control": "no-store"})


async def triton_metrics(request: Request, services: Services) -> Response:
    """Triton's own page, through us: the port of the embedded one is another at each start."""
    page = await services.telemetry.triton_page()
    elsewhere = "# This Triton is run by others: scrape it there.\n"
    return Response(page or elsewhere, 200, {"Cache-Control": "no-store"}, PROMETHEUS_TEXT)


def _answer(value: object, status: int) -> Response:
    return Response(json.dumps(value), status, {"Cache-Control": "no-store"}, JSON)
