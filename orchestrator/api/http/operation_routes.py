"""The routes of operators: how the service is and was, and how to steer it."""

from __future__ import annotations

from starlette.responses import Response

from orchestrator.api import messages as pb
from orchestrator.api.http.errors import JSON
from orchestrator.api.http.route import PREFIX, Operation, Result
from orchestrator.api.http.schemas import reference
from orchestrator.api.http.unary import message_response, unary
from orchestrator.errors import NotFound, NotWatched

HEALTH = f"{PREFIX}/health/detailed"

_SILENCES = f"{PREFIX}/silences"
_HEALTH = {JSON: reference(pb.GetHealthResponse.DESCRIPTOR)}
_WATCHED = (NotWatched,)


def _health(response: pb.GetHealthResponse) -> Response:
    return message_response(response, 503 if response.health.status == pb.HealthStatus.HEALTH_STATUS_CRITICAL else 200)


OPERATORS_OPERATIONS: tuple[Operation, ...] = (
    unary(
        "GET",
        HEALTH,
        "GetHealth",
        "How each part of this server is, with values, limits and runbooks.",
        lambda services: services.operations_methods.health,
        respond=_health,
        results={
            200: Result("It is healthy, or there are warnings.", _HEALTH),
            503: Result("Something is critical.", _HEALTH),
        },
        errors=_WATCHED,
    ),
    unary(
        "GET",
        f"{PREFIX}/status",
        "GetStatus",
        "What this server can do, and why not; versions; maintenance.",
        lambda services: services.operations_methods.status,
        errors=_WATCHED,
    ),
    unary(
        "GET",
        f"{PREFIX}/stats",
        "GetStats",
        "What the analyses came to that ended within some hours: totals, errors, durations, stages, frames.",
        lambda services: services.operations_methods.stats,
        errors=_WATCHED,
    ),
    unary(
        "GET",
        f"{PREFIX}/metrics/system",
        "ListSamples",
        "What servers measured of themselves: CPU, memory, disk, GPU, analyses at work.",
        lambda services: services.operations_methods.samples,
        errors=_WATCHED,
    ),
    unary(
        "GET",
        f"{PREFIX}/sessions",
        "ListSessions",
        "The analyses that run, longest first.",
        lambda services: services.operations_methods.sessions,
        errors=_WATCHED,
    ),
    unary(
        "POST",
        f"{PREFIX}/sessions/{{analysis_id}}:terminate",
        "TerminateSession",
        "Cancel a running analysis in an operator's name; the answer comes when it has stopped.",
        lambda services: services.operations_methods.terminate,
        body=True,
        errors=(NotFound, *_WATCHED),
    ),
    unary(
        "GET",
        f"{PREFIX}/alerts",
        "ListAlerts",
        "What is or was wrong, newest first.",
        lambda services: services.operations_methods.alerts,
        errors=_WATCHED,
    ),
    unary(
        "GET",
        _SILENCES,
        "ListSilences",
        "The silences in force.",
        lambda services: services.operations_methods.silences,
        errors=_WATCHED,
    ),
    unary(
        "POST",
        _SILENCES,
        "CreateSilence",
        "Have nobody told of some alerts for a while.",
        lambda services: services.operations_methods.silence,
        body=True,
        errors=_WATCHED,
    ),
    unary(
        "DELETE",
        f"{_SILENCES}/{{silence_id}}",
        "EndSilence",
        "End a silence now.",
        lambda services: services.operations_methods.end_silence,
        errors=(NotFound, *_WATCHED),
    ),
    unary(
        "POST",
        f"{PREFIX}/maintenance",
        "SetMaintenance",
        "Refuse new analyses for a while, or take them again.",
        lambda services: services.operations_methods.set_maintenance,
        body=True,
        errors=_WATCHED,
    ),
    unary(
        "POST",
        f"{PREFIX}:cleanup",
        "CleanUp",
        "Let go now what retention keeps no longer; with dryRun, only tell what that is.",
        lambda services: services.operations_methods.clean_up,
        body=True,
        errors=_WATCHED,
    ),
    unary(
        "POST",
        f"{PREFIX}:drain",
        "Drain",
        "Have this server end; the answer comes before.",
        lambda services: services.operations_methods.drain,
        body=True,
        errors=_WATCHED,
    ),
    unary(
        "POST",
        f"{PREFIX}/settings:reload",
        "ReloadSettings",
        "Have this server read its settings anew.",
        lambda services: services.operations_methods.reload,
        body=True,
        errors=_WATCHED,
    ),
)
