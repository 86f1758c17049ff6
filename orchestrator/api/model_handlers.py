"""ModelService: requests to steps, models to messages, and the gRPC service."""

from __future__ import annotations

import re
from typing import Any

import grpc

from orchestrator.api import convert_models as convert
from orchestrator.api import messages as pb
from orchestrator.api import requests
from orchestrator.api.gen.reelsift.v1.model_pb2_grpc import ModelServiceServicer
from orchestrator.api.ports import Rollouts
from orchestrator.errors import InvalidRequest, NotFound, NotManaged

MAX_WHY_BYTES = 1024
MAX_PAGE_SIZE = 1000
DEFAULT_PAGE_SIZE = 50

_MODEL = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_TOKEN = re.compile(r"[1-9][0-9]{0,17}")

Context = grpc.aio.ServicerContext[Any, Any]
Stepping = (
    pb.StageVersionRequest
    | pb.ShadowVersionRequest
    | pb.CanaryVersionRequest
    | pb.PromoteVersionRequest
    | pb.RollbackModelRequest
    | pb.RetireVersionRequest
)


class ModelMethods:
    """The methods of ModelService, whatever transport carries them. Each raises what the application raises, and ``InvalidRequest``;
    without ``rollouts``, where models are none of ours, ``NotManaged``."""

    def __init__(self, rollouts: Rollouts | None) -> None:
        self._given = rollouts

    @property
    def _rollouts(self) -> Rollouts:
        if self._given is None:
            raise NotManaged("this service does not know the versions of its models")
        return self._given

    async def list(self, _: pb.ListModelsRequest) -> pb.ListModelsResponse:
        """Every model."""
        return pb.ListModelsResponse(models=[convert.model(each) for each in await self._rollouts.models()])

    async def get(self, request: pb.GetModelRequest) -> pb.GetModelResponse:
        """One model."""
        return pb.GetModelResponse(model=convert.model(await self._rollouts.model(_model(request.model))))

    async def stage(self, request: pb.StageVersionRequest) -> pb.StageVersionResponse:
        """Examine a version, and make it the candidate."""
        state = await self._rollouts.stage(_model(request.model), _one(request.version), **_reasons(request))
        return pb.StageVersionResponse(model=convert.model(state))

    async def shadow(self, request: pb.ShadowVersionRequest) -> pb.ShadowVersionResponse:
        """Ask the candidate, unheard."""
        state = await self._rollouts.shadow(
            _model(request.model), request.share, version=_any(request.version), **_reasons(request)
        )
        return pb.ShadowVersionResponse(model=convert.model(state))

    async def canary(self, request: pb.CanaryVersionRequest) -> pb.CanaryVersionResponse:
        """Let the candidate answer."""
        state = await self._rollouts.canary(
            _model(request.model), request.share, version=_any(request.version), **_reasons(request)
        )
        return pb.CanaryVersionResponse(model=convert.model(state))

    async def promote(self, request: pb.PromoteVersionRequest) -> pb.PromoteVersionResponse:
        """Make the candidate the stable version."""
        state = await self._rollouts.promote(_model(request.model), version=_any(request.version), **_reasons(request))
        return pb.PromoteVersionResponse(model=convert.model(state))

    async def rollback(self, request: pb.RollbackModelRequest) -> pb.RollbackModelResponse:
        """Go back."""
        state = await self._rollouts.rollback(_model(request.model), version=_any(request.version), **_reasons(request))
        return pb.RollbackModelResponse(model=convert.model(state))

    async def retire(self, request: pb.RetireVersionRequest) -> pb.RetireVersionResponse:
        """Let the previous version go."""
        state = await self._rollouts.retire(_model(request.model), _one(request.version), **_reasons(request))
        return pb.RetireVersionResponse(model=convert.model(state))

    async def steps(self, request: pb.ListRolloutStepsRequest) -> pb.ListRolloutStepsResponse:
        """A page of a model's history."""
        size = requests.page_size(request.page_size, DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        before = _before(requests.page_token(request.page_token))
        found = await self._rollouts.history(_model(request.model), size, before)
        more = len(found) == size and found[-1].revision > 1
        return pb.ListRolloutStepsResponse(
            steps=[convert.step(each) for each in found], next_page_token=str(found[-1].revision) if more else ""
        )


class ModelHandlers(ModelServiceServicer):
    """The service over gRPC."""

    def __init__(self, rollouts: Rollouts | None) -> None:
        self._methods = ModelMethods(rollouts)

    async def ListModels(self, request: pb.ListModelsRequest, _: Context) -> pb.ListModelsResponse:  # noqa: N802
        return await self._methods.list(request)

    async def GetModel(self, request: pb.GetModelRequest, _: Context) -> pb.GetModelResponse:  # noqa: N802
        return await self._methods.get(request)

    async def StageVersion(  # noqa: N802
        self, request: pb.StageVersionRequest, _: Context
    ) -> pb.StageVersionResponse:
        return await self._methods.stage(request)

    async def ShadowVersion(  # noqa: N802
        self, request: pb.ShadowVersionRequest, _: Context
    ) -> pb.ShadowVersionResponse:
        return await self._methods.shadow(request)

    async def CanaryVersion(  # noqa: N802
        self, request: pb.CanaryVersionRequest, _: Context
    ) -> pb.CanaryVersionResponse:
        return await self._methods.canary(request)

    async def PromoteVersion(  # noqa: N802
        self, request: pb.PromoteVersionRequest, _: Context
    ) -> pb.PromoteVersionResponse:
        return await self._methods.promote(request)

    async def RollbackModel(  # noqa: N802
        self, request: pb.RollbackModelRequest, _: Context
    ) -> pb.RollbackModelResponse:
        return await self._methods.rollback(request)

    async def RetireVersion(  # noqa: N802
        self, request: pb.RetireVersionRequest, _: Context
    ) -> pb.RetireVersionResponse:
        return await self._methods.retire(request)

    async def ListRolloutSteps(  # noqa: N802
        self, request: pb.ListRolloutStepsRequest, _: Context
    ) -> pb.ListRolloutStepsResponse:
        return await self._methods.steps(request)


def _model(given: str) -> str:
    """A name that may be a model's. Raises ``NotFound`` for one that none of ours can be."""
    if not requests.name("model", given, required=True) or not _MODEL.fullmatch(given):
        raise NotFound("there is no such model")
    return given


def _one(version: int) -> int:
    if version < 1:
        raise InvalidRequest(f"versions count from 1, got {version}")
    return version


def _any(version: int) -> int:
    return version and _one(version)


def _reasons(request: Stepping) -> dict[str, str]:
    """Whoever asks must say who he is: so no page that somebody visits can have a step taken by an empty request."""
    return {
        "who": requests.name("who", request.who, required=True),
        "why": requests.text("why", request.why, MAX_WHY_BYTES),
    }


def _before(token: str) -> int | None:
    if token and not _TOKEN.fullmatch(token):
        raise InvalidRequest("this page_token is none of ours")
    return int(token) if token else None
