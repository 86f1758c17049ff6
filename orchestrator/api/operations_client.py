"""The part of the client that is for operators: how the service is and was, and how to steer it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

import grpc

from orchestrator.api import messages as pb
from orchestrator.api.gen.reelsift.v1.operations_pb2_grpc import OperationsServiceStub
from orchestrator.api.link import Link
from orchestrator.api.records import timestamp
from orchestrator.api.status import client_error

T = TypeVar("T")


class OperationsClient:
    """Asks a server. ``who`` and ``why`` are for its log and its history.

    What would be done twice if it were asked twice (a silence, a drain that meets the server's successor) is asked once: when its answer is
    lost with the connection, look whether it was done.
    """

    def __init__(self, channel: grpc.aio.Channel, link: Link, timeout: float | None) -> None:
        self._stub = OperationsServiceStub(channel)
        self._link, self._timeout = link, timeout

    async def health(self) -> pb.Health:
        """How each part of the server is."""
        return (await self._link.ask(self._stub.GetHealth, pb.GetHealthRequest())).health

    async def status(self) -> pb.ServiceStatus:
        """What the server can do."""
        return (await self._link.ask(self._stub.GetStatus, pb.GetStatusRequest())).status

    async def stats(self, hours: float = 24.0, *, until: datetime | None = None, profile: str = "") -> pb.Stats:
        """What the analyses came to that ended within the ``hours`` before ``until`` (aware; now when it is not given)."""
        request = pb.GetStatsRequest(hours=hours, until=timestamp(until), profile=profile)
        return (await self._link.ask(self._stub.GetStats, request)).stats

    async def samples(self, hours: float = 24.0, server: str = "") -> Sequence[pb.Sample]:
        """What servers measured of themselves, oldest first."""
        request = pb.ListSamplesRequest(hours=hours, server=server)
        return (await self._link.ask(self._stub.ListSamples, request)).samples

    async def sessions(self) -> Sequence[pb.Session]:
        """What runs, longest first."""
        return (await self._link.ask(self._stub.ListSessions, pb.ListSessionsRequest())).sessions

    async def terminate(self, analysis_id: str, *, who: str, why: str = "") -> pb.Analysis:
        """Cancel a running analysis; one that has ended stays as it is."""
        request = pb.TerminateSessionRequest(analysis_id=analysis_id, who=who, why=why)
        return (await self._link.ask(self._stub.TerminateSession, request)).analysis

    async def alerts(self, query: pb.ListAlertsRequest | None = None) -> Sequence[pb.Alert]:
        """What is or was wrong, newest first."""
        return (await self._link.ask(self._stub.ListAlerts, query or pb.ListAlertsRequest())).alerts

    async def silences(self) -> Sequence[pb.Silence]:
        """The silences in force."""
        return (await self._link.ask(self._stub.ListSilences, pb.ListSilencesRequest())).silences

    async def silence(self, pattern: str, seconds: float, *, who: str, why: str = "") -> pb.Silence:
        """Have nobody told of alerts whose component matches ``pattern``."""
        request = pb.CreateSilenceRequest(pattern=pattern, duration_seconds=seconds, who=who, why=why)
        return (await self._once(self._stub.CreateSilence, request)).silence

    async def end_silence(self, silence_id: str) -> None:
        """End a silence."""
        await self._once(self._stub.EndSilence, pb.EndSilenceRequest(silence_id=silence_id))

    async def set_maintenance(self, on: bool, *, who: str, why: str = "") -> pb.ServiceStatus:
        """Have new analyses refused, or taken again."""
        request = pb.SetMaintenanceRequest(on=on, who=who, why=why)
        return (await self._link.ask(self._stub.SetMaintenance, request)).status

    async def clean_up(self, *, dry_run: bool = False, who: str, why: str = "") -> pb.CleanUpResponse:
        """Have what retention keeps no longer let go, or, in a ``dry_run``, only named; waits for as long as it takes."""
        request = pb.CleanUpRequest(dry_run=dry_run, who=who, why=why)
        return await self._once(self._stub.CleanUp, request, hurried=False)

    async def drain(self, *, who: str, why: str = "") -> None:
        """Have the server end."""
        await self._once(self._stub.Drain, pb.DrainRequest(who=who, why=why))

    async def reload(self, *, who: str, why: str = "") -> Sequence[str]:
        """Have the settings read anew; the names of those that changed."""
        return (await self._once(self._stub.ReloadSettings, pb.ReloadSettingsRequest(who=who, why=why))).changed

    async def _once(self, method: Callable[..., Awaitable[T]], request: object, *, hurried: bool = True) -> T:
        try:
            return await method(request, timeout=self._timeout if hurried else None)
        except grpc.aio.AioRpcError as error:
            raise client_error(error) from None
