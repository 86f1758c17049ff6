"""From models, their versions and their steps to messages."""

from __future__ import annotations

from orchestrator.api import messages as pb
from orchestrator.api.records import timestamp
from orchestrator.core.model_versions import ModelState, VersionState
from orchestrator.core.rollout import Step


def model(state: ModelState) -> pb.Model:
    """``state`` as a message."""
    return pb.Model(model=state.model, revision=state.revision, versions=[_version(each) for each in state.versions])


def _version(state: VersionState) -> pb.Version:
    info = state.info
    stage = "UNSPECIFIED" if state.stage is None else state.stage.value
    return pb.Version(
        version=info.version,
        state=pb.VersionState.Value(f"VERSION_STATE_{state.role.value}"),
        stage=pb.RolloutStage.Value(f"ROLLOUT_STAGE_{stage}"),
        share=state.share,
        since=timestamp(state.since),
        digest=info.digest,
        precision=info.precision,
        target=info.target,
        licence=info.licence,
        created=info.created,
        parity=info.parity,
        size_bytes=info.nbytes,
        loaded=info.loaded,
        defect=info.defect,
        traffic=_traffic(state),
    )


def _traffic(state: VersionState) -> pb.Traffic:
    seen = state.measured
    return pb.Traffic(
        request_count=seen.requests,
        failure_count=seen.failures,
        p50_seconds=seen.p50_s,
        p95_seconds=seen.p95_s,
        resident_bytes=seen.resident_bytes,
        compared_count=seen.compared,
        disagreed_count=seen.disagreed,
        analysis_count=state.analyses,
    )


def step(entry: Step) -> pb.RolloutStep:
    """``entry`` as a message."""
    return pb.RolloutStep(
        model=entry.model,
        revision=entry.revision,
        action=pb.RolloutAction.Value(f"ROLLOUT_ACTION_{entry.action.value}"),
        version=entry.version,
        stable_version=entry.stable,
        share=entry.share,
        time=timestamp(entry.at),
        who=entry.who,
        why=entry.why,
        automatic=entry.automatic,
        rail="" if entry.rail is None else entry.rail.value,
        detail=entry.detail,
        evidence={
            name: f"{value:.6g}" if isinstance(value, float) else str(value) for name, value in entry.evidence.items()
        },
    )
