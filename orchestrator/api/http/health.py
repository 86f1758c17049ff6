"""Whether the process lives, and whether it can do its work."""

from __future__ import annotations

import asyncio
import json

import structlog
from starlette.requests import Request
from starlette.responses import Response

from orchestrator.api.http.errors import JSON
from orchestrator.api.http.route import Services

log = structlog.get_logger(__name__)

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


def _answer(value: object, status: int) -> Response:
    return Response(json.dumps(value), status, {"Cache-Control": "no-store"}, JSON)
