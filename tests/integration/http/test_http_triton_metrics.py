"""Triton's own page of metrics, through the service that embeds it."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from orchestrator.errors import InferenceUnavailable
from orchestrator.pipeline.telemetry import Telemetry
from tests.integration.http.conftest import Serve

PAGE = """# TYPE nv_inference_count counter
nv_inference_count{model="labels",version="1"} 80
"""


class Triton(Telemetry):
    def __init__(self, page: str | Exception) -> None:
        self.page_of_triton = page

    async def triton_page(self) -> str:
        if isinstance(self.page_of_triton, Exception):
            raise self.page_of_triton
        return self.page_of_triton


async def test_the_page_is_passed_on(serve: Serve) -> None:
    async with serve(telemetry=Triton(PAGE)) as running:
        answer = await running.client.get("/metrics/triton")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert answer.text == PAGE


async def test_of_a_triton_that_others_run_nothing_is_told(serve: Serve) -> None:
    async with serve(telemetry=Triton("")) as running:
        answer = await running.client.get("/metrics/triton")
    assert answer.status_code == 200
    assert list(text_string_to_metric_families(answer.text)) == []


async def test_a_triton_that_is_away_has_no_page(serve: Serve) -> None:
    async with serve(telemetry=Triton(InferenceUnavailable("Triton does not answer"))) as running:
        answer = await running.client.get("/metrics/triton")
    assert answer.status_code == 503
