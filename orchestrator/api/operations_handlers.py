"""OperationsService: what operators ask, checked and answered, and the gRPC service."""

from __future__ import annotations

import math
from typing import Any

import grpc

from orchestrator.api import convert_operations as convert
from orchestrator.api import messages as pb
from orchestrator.api import records, requests
from orchestrator.api.gen.reelsift.v1.operations_pb2_grpc import OperationsServiceServicer
from orchestrator.api.methods import named
from orchestrator.api.ports import Operations
from orchestrator.core.alerting import AlertFilter
from orchestrator.errors import InvalidRequest, NotWatched

DEFAULT_HOURS = 24.0
MAX_HOURS = 8760.0
MAX_SILENCE_SECONDS = 30 * 86400.0
MAX_WHY_BYTES = 1024
MAX_ALERTS = 1000
DEFAULT_ALERTS = 100
MAX_REMOVALS = 1000

Context = grpc.aio.ServicerContext[Any, Any]
Steering = (
    pb.TerminateSessionRequest
    | pb.CreateSilenceRequest
    | pb.SetMaintenanceRequest
    | pb.CleanUpRequest
    | pb.DrainRequest
    | pb.ReloadSettingsRequest
)


class OperationsMethods:
    """The methods of OperationsService, whatever transport carries them. Each raises what the application raises, and ``InvalidRequest``;
    without ``operations``, where nobody watches, ``NotWatched``."""

    def __init__(self, operations: Operations | None) -> None:
        self._given = operations

    @property
    def _operations(self) -> Operations:
        if self._given is None:
            raise NotWatched("this server keeps no account of itself")
        return self._given

    async def health(self, _: pb.GetHealthRequest) -> pb.GetHealthResponse:
        """How each part is."""
        return pb.GetHealthResponse(health=convert.health(self._operations.health()))

    async def status(self, _: pb.GetStatusRequest) -> pb.GetStatusResponse:
        """What it can do."""
        return pb.GetStatusResponse(status=convert.service_status(self._operations.status()))

    async def stats(self, request: pb.GetStatsRequest) -> pb.GetStatsResponse:
        """What analyses came to."""
        found = await self._operations.stats(
            _hours(request),
            until=requests.time("until", request.until) if request.HasField("until") else None,
            profile=requests.name("profile", request.profile),
        )
        return pb.GetStatsResponse(stats=convert.stats(found))

    async def samples(self, request: pb.ListSamplesRequest) -> pb.ListSamplesResponse:
        """What servers measured of themselves."""
        found = await self._operations.samples(_hours(request), requests.name("server", request.server))
        return pb.ListSamplesResponse(samples=[convert.sample(each) for each in found])

    async def sessions(self, _: pb.ListSessionsRequest) -> pb.ListSessionsResponse:
        """What runs."""
        return pb.ListSessionsResponse(sessions=[convert.session(each) for each in await self._operations.sessions()])

    async def terminate(self, request: pb.TerminateSessionRequest) -> pb.TerminateSessionResponse:
        """Cancel what runs."""
        record = await self._operations.terminate(named(request.analysis_id), **_reasons(request))
        return pb.TerminateSessionResponse(analysis=records.analysis(record))

    async def alerts(self, request: pb.ListAlertsRequest) -> pb.ListAlertsResponse:
        """What is or was wrong."""
        if not 0 <= request.limit <= MAX_ALERTS:
            raise InvalidRequest(f"limit is 1 to {MAX_ALERTS}, or 0 for {DEFAULT_ALERTS}; got {request.limit}")
        query = AlertFilter(convert.level(request.level), requests.name("component", request.component), request.open)
        found = await self._operations.alerts(query, request.limit or DEFAULT_ALERTS)
        return pb.ListAlertsResponse(alerts=[convert.alert(each) for each in found])

    async def silences(self, _: pb.ListSilencesRequest) -> pb.ListSilencesResponse:
        """Who is told of what no more."""
        return pb.ListSilencesResponse(silences=[convert.silence(each) for each in await self._operations.silences()])

    async def silence(self, request: pb.CreateSilenceRequest) -> pb.CreateSilenceResponse:
        """Tell nobody for a while."""
        seconds = request.duration_seconds
        if not 0 < seconds <= MAX_SILENCE_SECONDS:
            raise InvalidRequest(f"duration_seconds is above 0 and at most {MAX_SILENCE_SECONDS:.0f}, got {seconds:g}")
        pattern = requests.name("pattern", request.pattern, required=True)
        made = await self._operations.silence(pattern, seconds, **_reasons(request))
        return pb.CreateSilenceResponse(silence=convert.silence(made))

    async def end_silence(self, request: pb.EndSilenceRequest) -> pb.EndSilenceResponse:
        """Tell again."""
        await self._operations.end_silence(requests.name("silence_id", request.silence_id, required=True))
        return pb.EndSilenceResponse()

    async def set_maintenance(self, request: pb.SetMaintenanceRequest) -> pb.SetMaintenanceResponse:
        """Take no new analyses, or take them again."""
        reasons = _reasons(request)
        if request.on and not reasons["why"].strip():
            raise InvalidRequest("why must not be empty: it is what those are told who are refused")
        await self._operations.set_maintenance(request.on, **reasons)
        return pb.SetMaintenanceResponse(status=convert.service_status(self._operations.status()))

    async def clean_up(self, request: pb.CleanUpRequest) -> pb.CleanUpResponse:
        """Let go what retention keeps no longer."""
        cleaned = await self._operations.clean_up(dry_run=request.dry_run, **_reasons(request))
        return convert.cleaned(cleaned, MAX_REMOVALS)

    async def drain(self, request: pb.DrainRequest) -> pb.DrainResponse:
        """End."""
        self._operations.drain(**_reasons(request))
        return pb.DrainResponse()

    async def reload(self, request: pb.ReloadSettingsRequest) -> pb.ReloadSettingsResponse:
        """Read the settings anew."""
        return pb.ReloadSettingsResponse(changed=self._operations.reload(**_reasons(request)))


class OperationsHandlers(OperationsServiceServicer):
    """The service over gRPC."""

    def __init__(self, operations: Operations | None) -> None:
        self._methods = OperationsMethods(operations)

    async def GetHealth(self, request: pb.GetHealthRequest, _: Context) -> pb.GetHealthResponse:  # noqa: N802
        return await self._methods.health(request)

    async def GetStatus(self, request: pb.GetStatusRequest, _: Context) -> pb.GetStatusResponse:  # noqa: N802
        return await self._methods.status(request)

    async def GetStats(self, request: pb.GetStatsRequest, _: Context) -> pb.GetStatsResponse:  # noqa: N802
        return await self._methods.stats(request)

    async def ListSamples(self, request: pb.ListSamplesRequest, _: Context) -> pb.ListSamplesResponse:  # noqa: N802
        return await self._methods.samples(request)

    async def ListSessions(self, request: pb.ListSessionsRequest, _: Context) -> pb.ListSessionsResponse:  # noqa: N802
        return await self._methods.sessions(request)

    async def TerminateSession(  # noqa: N802
        self, request: pb.TerminateSessionRequest, _: Context
    ) -> pb.TerminateSessionResponse:
        return await self._methods.terminate(request)

    async def ListAlerts(self, request: pb.ListAlertsRequest, _: Context) -> pb.ListAlertsResponse:  # noqa: N802
        return await self._methods.alerts(request)

    async def ListSilences(self, request: pb.ListSilencesRequest, _: Context) -> pb.ListSilencesResponse:  # noqa: N802
        return await self._methods.silences(request)

    async def CreateSilence(  # noqa: N802
        self, request: pb.CreateSilenceRequest, _: Context
    ) -> pb.CreateSilenceResponse:
        return await self._methods.silence(request)

    async def EndSilence(self, request: pb.EndSilenceRequest, _: Context) -> pb.EndSilenceResponse:  # noqa: N802
        return await self._methods.end_silence(request)

    async def SetMaintenance(  # noqa: N802
        self, request: pb.SetMaintenanceRequest, _: Context
    ) -> pb.SetMaintenanceResponse:
        return await self._methods.set_maintenance(request)

    async def CleanUp(self, request: pb.CleanUpRequest, _: Context) -> pb.CleanUpResponse:  # noqa: N802
        return await self._methods.clean_up(request)

    async def Drain(self, request: pb.DrainRequest, _: Context) -> pb.DrainResponse:  # noqa: N802
        return await self._methods.drain(request)

    async def ReloadSettings(  # noqa: N802
        self, request: pb.ReloadSettingsRequest, _: Context
    ) -> pb.ReloadSettingsResponse:
        return await self._methods.reload(request)


def _hours(request: pb.GetStatsRequest | pb.ListSamplesRequest) -> float:
    hours = request.hours if request.HasField("hours") else DEFAULT_HOURS
    if not (math.isfinite(hours) and 0 < hours <= MAX_HOURS):
        raise InvalidRequest(f"hours are above 0 and at most {MAX_HOURS:.0f}, got {hours:g}", field="hours")
    return hours


def _reasons(request: Steering) -> dict[str, str]:
    """Whoever asks must say who he is: so no page that somebody visits can steer a service by an empty request."""
    return {
        "who": requests.name("who", request.who, required=True),
        "why": requests.text("why", request.why, MAX_WHY_BYTES),
    }
