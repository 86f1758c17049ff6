"""Models, their versions and their steps in words, for people. Whatever a client or a manifest named is hostile: no control
character survives."""

from __future__ import annotations

from orchestrator.api import messages as pb
from orchestrator.cli.describe import printable
from orchestrator.cli.describe_jobs import moment
from orchestrator.cli.tables import Cell

VERSION_COLUMNS = (
    "model",
    "version",
    "state",
    "since",
    "precision",
    "digest",
    "parity",
    "traffic",
    "licence",
    "defect",
)
STEP_COLUMNS = ("step", "when", "what", "who", "why", "rail", "found")
DIGITS = 12  # of a digest

_STYLES = {"stable": "green", "previous": "dim", "available": "dim"}


def version_cells(model: pb.Model, version: pb.Version) -> list[Cell]:
    """A version, as a row of ``VERSION_COLUMNS``."""
    state = state_words(version)
    kind = version.precision if version.target in ("", "onnx") else f"{version.precision} {version.target}"
    return [
        (printable(model.model), ""),
        (str(version.version), ""),
        (state, _STYLES.get(state, "cyan")),
        (moment(version.since) if version.HasField("since") else "", "dim"),
        (printable(kind), ""),
        (printable(version.digest[:DIGITS]), "dim"),
        (_parity(version), ""),
        (traffic_words(version.traffic), ""),
        (printable(version.licence), "dim"),
        (printable(version.defect), "red"),
    ]


def state_words(version: pb.Version) -> str:
    """What a version is for, such as "stable" or "canary 10 %"."""
    if version.state != pb.VersionState.VERSION_STATE_CANDIDATE:
        return pb.VersionState.Name(version.state).removeprefix("VERSION_STATE_").lower()
    stage = pb.RolloutStage.Name(version.stage).removeprefix("ROLLOUT_STAGE_").lower()
    return f"{stage} {percent(version.share)}" if version.share else stage


def traffic_words(seen: pb.Traffic) -> str:
    """What a version was asked, as far as it is worth telling."""
    words = []
    if seen.request_count:
        words.append(f"{seen.request_count:,} requests")
        words.append(f"95 % in {seen.p95_seconds * 1000:,.0f} ms")
    if seen.failure_count:
        words.append(f"{seen.failure_count:,} failed")
    if seen.compared_count:
        words.append(f"{seen.disagreed_count:,} of {seen.compared_count:,} differ")
    if seen.resident_bytes:
        words.append(f"{seen.resident_bytes >> 20:,} MiB")
    if seen.analysis_count:
        words.append(f"{seen.analysis_count:,} at work")
    return ", ".join(words)


def step_cells(step: pb.RolloutStep) -> list[Cell]:
    """A step, as a row of ``STEP_COLUMNS``."""
    evidence = ", ".join(f"{name} {step.evidence[name]}" for name in sorted(step.evidence))
    found = f"{step.detail} ({evidence})" if step.detail and evidence else step.detail or evidence
    return [
        (str(step.revision), ""),
        (moment(step.time), "dim"),
        (_step_words(step), "red" if step.rail else ""),
        (printable(step.who), ""),
        (printable(step.why), ""),
        (printable(step.rail.lower()), "red"),
        (printable(found), "dim"),
    ]


def percent(share: float) -> str:
    """A share in percent, without zeros that say nothing."""
    return f"{share * 100:.4g} %"


def _step_words(step: pb.RolloutStep) -> str:
    action = pb.RolloutAction.Name(step.action).removeprefix("ROLLOUT_ACTION_").lower()
    words = f"{action} {step.version}" + (f" {percent(step.share)}" if step.share else "")
    refused = step.rail and step.action == pb.RolloutAction.ROLLOUT_ACTION_STAGE
    return f"{words}, refused" if refused else f"{words}, by itself" if step.automatic else words


def _parity(version: pb.Version) -> str:
    """The worst output's error."""
    return f"{percent(max(version.parity.values()))} of tolerance" if version.parity else ""
