"""Dry runs: what an analysis would be, and what it would take. Nothing is created, nothing is inferred."""

from __future__ import annotations

import asyncio

from orchestrator.analyzers.registry import select
from orchestrator.core.jobs import (
    AnalysisFilter,
    AnalysisSpec,
    AnalysisState,
    Estimate,
    SourceKind,
    UploadState,
)
from orchestrator.core.media import MediaInfo
from orchestrator.pipeline.attempt import Parts, digest_of, profile_of
from orchestrator.pipeline.keys import keys_of
from orchestrator.ports import DecodeRequest, MediaBytes, MediaOpened

RECENT = 32  # ended analyses that tell how fast we are


async def estimate(parts: Parts, spec: AnalysisSpec, places: int) -> Estimate:
    """Validate ``spec``, open its media, load its models, and judge by what earlier analyses took."""
    profile = profile_of(spec, parts.profiles)
    selection = await asyncio.to_thread(select, profile, parts.names)
    with parts.inference.pinned("") as inference:
        await inference.ready(selection.models)
        models = tuple(inference.version(model) for model in selection.models)
        keys = keys_of(profile, selection, inference)
    media: MediaInfo | None = None
    reusable: tuple[str, ...] = ()
    if spec.source.kind is SourceKind.PATH:
        source = await parts.sources.open(spec.source, UploadState())
        try:
            media = await _facts(parts, source, DecodeRequest(selection.taps, parts.limits))
            if spec.reuse and await parts.store.sized(source.committed):
                plan = await parts.store.known(await digest_of(source), keys)
                reusable = plan.analyzers if plan else ()
        finally:
            source.close()
    factor = await _realtime_factor(parts, profile.name)
    duration = media.duration_ns if media else None
    processing = None if factor is None or duration is None else int(factor * duration)
    return Estimate(
        analyzers=selection.names,
        models=models,
        media=media,
        processing_ns=processing,
        waiting_ns=await _waiting(parts, factor, duration, places),
        reusable=reusable,
    )


async def _facts(parts: Parts, source: MediaBytes, request: DecodeRequest) -> MediaInfo:
    async with parts.decoder.open(source, request) as session:
        opened = await anext(aiter(session.events()))
        if not isinstance(opened, MediaOpened):
            raise AssertionError(f"a decoder opens with MediaOpened, not {type(opened).__name__}")
        return opened.media


async def _realtime_factor(parts: Parts, profile: str) -> float | None:
    """Processing seconds per media second of recent analyses with the same profile that took nothing over."""
    recent = await parts.store.list(AnalysisFilter(states=frozenset({AnalysisState.SUCCEEDED})), RECENT)
    results = [each.result for each in recent.records if each.spec.profile == profile and each.reuse is None]
    elapsed = sum(result.elapsed_ns for result in results if result)
    media = sum(result.media_ns for result in results if result)
    return elapsed / media if media else None


async def _waiting(parts: Parts, factor: float | None, duration: int | None, places: int) -> int | None:
    """How long what is before it takes, if each is as long as this one; 0 with a free place."""
    busy = await parts.store.list(AnalysisFilter(states=frozenset({AnalysisState.QUEUED, AnalysisState.RUNNING})), 1000)
    before = len(busy.records)
    if before < places:
        return 0
    if factor is None or duration is None:
        return None
    return int((before - places + 1) / places * factor * duration)
