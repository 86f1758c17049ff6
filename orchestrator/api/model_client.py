"""The part of the client that is about models: what there is, and the steps of a rollout."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc

from orchestrator.api import messages as pb
from orchestrator.api.gen.reelsift.v1.model_pb2_grpc import ModelServiceStub
from orchestrator.api.link import Link
from orchestrator.api.status import client_error

STAGE_SECONDS = 900.0  # a version is loaded, warmed up and asked before the answer comes


class ModelClient:
    """A ``version`` of 0 is the one in question. ``who`` and ``why`` are for the history.

    The answer to a step may be lost with the connection; then it is not asked for again, as that would be another step: look at ``get``.
    """

    def __init__(self, channel: grpc.aio.Channel, link: Link, timeout: float | None) -> None:
        self._stub = ModelServiceStub(channel)
        self._link, self._timeout = link, timeout

    async def list(self) -> Sequence[pb.Model]:
        """Every model."""
        return (await self._link.ask(self._stub.ListModels, pb.ListModelsRequest())).models

    async def get(self, model: str) -> pb.Model:
        """One model."""
        return (await self._link.ask(self._stub.GetModel, pb.GetModelRequest(model=model))).model

    async def steps(self, model: str, page_size: int = 0) -> AsyncIterator[pb.RolloutStep]:
        """Its history, newest first, page after page."""
        request = pb.ListRolloutStepsRequest(model=model, page_size=page_size)
        while True:
            page = await self._link.ask(self._stub.ListRolloutSteps, request)
            for step in page.steps:
                yield step
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def stage(self, model: str, version: int, *, who: str, why: str = "") -> pb.Model:
        """Have a version examined, and made the candidate."""
        request = pb.StageVersionRequest(model=model, version=version, who=who, why=why)
        return await self._step(self._stub.StageVersion, request, STAGE_SECONDS)

    async def shadow(self, model: str, share: float, *, who: str, why: str = "", version: int = 0) -> pb.Model:
        """Have the candidate asked, unheard."""
        request = pb.ShadowVersionRequest(model=model, version=version, share=share, who=who, why=why)
        return await self._step(self._stub.ShadowVersion, request)

    async def canary(self, model: str, share: float, *, who: str, why: str = "", version: int = 0) -> pb.Model:
        """Have the candidate answer."""
        request = pb.CanaryVersionRequest(model=model, version=version, share=share, who=who, why=why)
        return await self._step(self._stub.CanaryVersion, request)

    async def promote(self, model: str, *, who: str, why: str = "", version: int = 0) -> pb.Model:
        """Make the candidate the stable version."""
        request = pb.PromoteVersionRequest(model=model, version=version, who=who, why=why)
        return await self._step(self._stub.PromoteVersion, request)

    async def rollback(self, model: str, *, who: str, why: str = "", version: int = 0) -> pb.Model:
        """Leave the candidate, or the stable version."""
        request = pb.RollbackModelRequest(model=model, version=version, who=who, why=why)
        return await self._step(self._stub.RollbackModel, request)

    async def retire(self, model: str, version: int, *, who: str, why: str = "") -> pb.Model:
        """Let the previous version go."""
        request = pb.RetireVersionRequest(model=model, version=version, who=who, why=why)
        return await self._step(self._stub.RetireVersion, request)

    async def _step(
        self, method: Callable[..., Awaitable[Any]], request: object, timeout: float | None = None
    ) -> pb.Model:
        try:
            answer = await method(request, timeout=timeout or self._timeout)
        except grpc.aio.AioRpcError as error:
            raise client_error(error) from None
        found: pb.Model = answer.model
        return found
