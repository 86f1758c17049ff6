"""The routes of models and their versions."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.api.http.route import PREFIX, Operation
from orchestrator.api.http.unary import Method, unary
from orchestrator.errors import (
    InferenceUnavailable,
    NotFound,
    NotManaged,
    ReelsiftError,
    RolloutStepRefused,
    VersionRejected,
)

_MODELS = f"{PREFIX}/models"
_ONE = f"{_MODELS}/{{model}}"


def _step(verb: str, rpc: str, summary: str, method: Method, *errors: type[ReelsiftError]) -> Operation:
    refusals: Sequence[type[ReelsiftError]] = (NotFound, RolloutStepRefused, NotManaged, InferenceUnavailable, *errors)
    return unary("POST", f"{_ONE}:{verb}", rpc, summary, method, body=True, errors=refusals)


MODEL_OPERATIONS: tuple[Operation, ...] = (
    unary(
        "GET",
        _MODELS,
        "ListModels",
        "Every model and its versions.",
        lambda services: services.model_methods.list,
        errors=(NotManaged,),
    ),
    unary(
        "GET",
        _ONE,
        "GetModel",
        "A model and its versions.",
        lambda services: services.model_methods.get,
        errors=(NotFound, NotManaged),
    ),
    unary(
        "GET",
        f"{_ONE}/steps",
        "ListRolloutSteps",
        "The steps of a model's rollouts, newest first.",
        lambda services: services.model_methods.steps,
        errors=(NotFound, NotManaged),
    ),
    _step(
        "stage",
        "StageVersion",
        "Examine a version and make it the candidate; the answer comes when that is done.",
        lambda services: services.model_methods.stage,
        VersionRejected,
    ),
    _step(
        "shadow",
        "ShadowVersion",
        "Ask the candidate for a share of the requests; nobody hears its answers.",
        lambda services: services.model_methods.shadow,
    ),
    _step(
        "canary",
        "CanaryVersion",
        "Let the candidate answer for a share of the analyses.",
        lambda services: services.model_methods.canary,
    ),
    _step(
        "promote",
        "PromoteVersion",
        "Make the candidate the stable version.",
        lambda services: services.model_methods.promote,
    ),
    _step(
        "rollback",
        "RollbackModel",
        "Leave the candidate or, where there is none, the stable version for the one before it.",
        lambda services: services.model_methods.rollback,
    ),
    _step(
        "retire",
        "RetireVersion",
        "Let the previous version go from memory.",
        lambda services: services.model_methods.retire,
    ),
)
