"""Requests that nobody thought of: schemathesis against the server's own document.

``REELSIFT_SCHEMATHESIS_EXAMPLES`` makes the search longer than the test suite can afford.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog

from orchestrator.core.jobs import AnalysisRecord, AnalysisSpec
from orchestrator.core.results import AnalysisEvent
from tests.integration.http.conftest import serving
from tests.integration.http.scripted import CANCELLED, ScriptedAnalyses
from tests.support.schemathesis import cases, schemathesis

EXAMPLES = int(os.environ.get("REELSIFT_SCHEMATHESIS_EXAMPLES", "6"))

CONFIG = """
[dictionaries.analyses]
values = ["a-0", "a-1", "a-2"]

[dictionaries.segments]
values = [0, 1, 2]

[dictionaries.models]
values = ["labels", "shots"]

[dictionaries.paths]
values = ["/allowed/film.mp4"]

[dictionaries.ranges]
values = ["bytes 0-3/4", "bytes 0-3/*", "bytes 4-7/8", "bytes */*", "bytes */4"]

[parameters]
"body.config.path" = { dictionary = "paths", probability = 0.8 }
"header.Content-Range" = { dictionary = "ranges", probability = 0.5 }
"path.analysis_id" = { dictionary = "analyses", probability = 0.8 }
"path.model" = { dictionary = "models", probability = 0.8 }
"path.index" = { dictionary = "segments", probability = 0.5 }
"""


class Endless(ScriptedAnalyses):
    """Analyses that stay, from any path, whose logs do end."""

    async def create(self, spec: AnalysisSpec) -> tuple[AnalysisRecord, bool]:
        if len(self.jobs) > 50:
            return next(iter(self.jobs.values())).record, False
        return await super().create(spec)

    async def delete(self, analysis_id: str) -> None:
        _ = self[analysis_id]

    async def events(self, analysis_id: str, after: int = 0) -> AsyncIterator[tuple[int, AnalysisEvent]]:
        job = self[analysis_id]
        if not job.record.state.ended:
            job.extend(CANCELLED)
        async for each in super().events(analysis_id, after):
            yield each

    async def export(self, analysis_id: str, file_format: str) -> AsyncIterator[bytes]:
        _ = self[analysis_id]
        yield b"{}"


@pytest.mark.timeout(600)
async def test_no_request_breaks_the_server_or_its_word(tmp_path: Path) -> None:
    async with serving(Endless(), port=True) as running:
        await running.analysed()
        await running.uploading()
        await running.uploading()
        running.operations.readings = running.operations.readings[
            :2
        ]  # healthy: 503 is health's word, but a server error's too
        status, told = await schemathesis(running.address, tmp_path, CONFIG, "--max-examples", str(EXAMPLES))
    assert status == 0, told
    assert cases(told) > 500


async def test_it_would_find_a_server_error(tmp_path: Path) -> None:
    async with serving(Endless(), port=True) as running:
        running.analyses.refusal = KeyError("a fault")
        chosen = ("--max-examples", "1", "--phases", "fuzzing", "--include-operation-id", "ListAnalyses")
        with structlog.testing.capture_logs():
            status, told = await schemathesis(running.address, tmp_path, CONFIG, *chosen)
    assert status == 1, told
    assert "Server error" in told
