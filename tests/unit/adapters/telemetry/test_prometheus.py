"""What the service tells of itself is in the metrics, under their names and with their labels."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text

from orchestrator import tracing
from orchestrator.adapters.telemetry.metrics import Metrics
from orchestrator.adapters.telemetry.page import page
from orchestrator.adapters.telemetry.prometheus import PrometheusTelemetry
from orchestrator.core.alerting import Level
from orchestrator.core.health import Limits, measured, up
from orchestrator.core.jobs import AnalysisState
from orchestrator.core.media import Ledger
from orchestrator.core.results import Finished
from orchestrator.core.statistics import Spent
from orchestrator.pipeline.telemetry import Telemetry, Worked

OPS = Path(__file__).parents[4] / "ops"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
LEDGER = Ledger(source=20, expected=10, decoded=7, corrupt=2, dropped=1, skipped=10, redecoded=3)
FINISHED = Finished(4, 10_000_000_000, 2_000_000_000, LEDGER, False, None, None)

Value = Callable[..., float | None]


@pytest.fixture
def telemetry() -> PrometheusTelemetry:
    return PrometheusTelemetry()


@pytest.fixture
def value(telemetry: PrometheusTelemetry) -> Value:
    def of(name: str, **labels: str) -> float | None:
        return telemetry.metrics.registry.get_sample_value(f"reelsift_{name}", labels)

    return of


def everything(telemetry: Telemetry) -> None:
    """Tell of each kind once."""
    telemetry.calling("http", 1)
    telemetry.called("grpc", "GetAnalysis", "OK", 0.003)
    telemetry.uploaded(1 << 20)
    telemetry.created()
    telemetry.working(1, 2)
    telemetry.spent("infer/labels", 0.5)
    telemetry.spent("model/labels", 0.25)
    telemetry.spent("store", 0.125)
    telemetry.committed(0.004)
    telemetry.requeued("YIELD")
    telemetry.ended(AnalysisState.SUCCEEDED, worked=Worked(1.0, Spent({}, {"labels": (10, 3)}), FINISHED))
    telemetry.decoding(1)
    telemetry.decoder_crashed()
    telemetry.inferred("labels", "answered", 0.02)
    telemetry.model_died("labels")
    telemetry.triton_started("2.51.0", again=False)
    telemetry.triton_started("2.51.0", again=True)
    telemetry.watch_models(lambda: True, lambda: [("labels", "1", True), ("objects", "2", False)], a_page)
    telemetry.stepped("labels", "STAGE", automatic=False)
    readings = [up("triton", works=False), measured("disk/data", 0.85, "ratio", Limits(0.8, 0.9))]
    telemetry.looked(readings, looked_at(), {Level.CRITICAL: 1, Level.WARNING: 1})
    telemetry.notified("delivered")
    telemetry.removed("uploads", 7)


async def a_page() -> str:
    return "nv_inference_count 1"


def looked_at() -> dict[str, float]:
    """A value for every gauge that a look sets."""
    labelled = {"place": "data", "gpu": "0", "name": "api"}
    declared = Metrics()
    labels = {each.name: each.labels for each in declared.described}
    found = {}
    for number, (name, gauge) in enumerate(declared.looked_at.items(), 1):
        (metric,) = (family.name for family in gauge.describe())
        found["/".join([name, *(labelled[label] for label in labels[metric])])] = float(number)
    return found


def test_everything_that_is_told_is_counted(telemetry: PrometheusTelemetry, value: Value) -> None:
    everything(telemetry)
    telemetry.logged("error")
    told = {sample.name for family in text(telemetry.page("")[0].decode()) for sample in family.samples if sample.value}
    suffix = {"counter": "", "gauge": "", "histogram": "_count"}
    assert {each.name + suffix[each.kind] for each in telemetry.metrics.described} - told == set()
    assert value("requests_total", transport="grpc", method="GetAnalysis", code="OK") == 1
    assert value("request_duration_seconds_bucket", transport="grpc", method="GetAnalysis", le="0.005") == 1
    assert value("analyses_ended_total", state="succeeded", reason="") == 1
    assert value("analysis_realtime_factor_sum") == pytest.approx(0.2)
    assert value("analysis_duration_seconds_sum") == 2.0, "of all attempts"
    assert value("stage_seconds_total", stage="infer", analyzer="labels") == 0.5
    assert value("stage_seconds_total", stage="store", analyzer="") == 0.125
    assert value("stage_seconds_total", stage="model", analyzer="labels") is None
    assert value("frames_total", outcome="corrupt") == 2
    assert (value("frames_analyzed_total", analyzer="labels"), value("frames_reused_total", analyzer="labels")) == (
        10,
        3,
    )
    assert value("health", component="triton") == 2
    assert value("health", component="disk/data") == 1
    assert value("model_ready", model="objects", version="2") == 0
    assert value("triton_restarts_total") == 1
    assert value("log_events_total", level="error") == 1


def test_a_stream_has_no_duration(telemetry: PrometheusTelemetry, value: Value) -> None:
    telemetry.called("grpc", "Analyze", "OK", None)
    assert value("requests_total", transport="grpc", method="Analyze", code="OK") == 1
    assert value("request_duration_seconds_count", transport="grpc", method="Analyze") is None


def test_the_latency_is_that_of_ordinary_calls(telemetry: PrometheusTelemetry) -> None:
    for method, seconds in (("GetAnalysis", 0.5), ("StageVersion", 90.0), ("Live", 0.001), ("Analyze", None)):
        telemetry.called("http", method, "OK", seconds)
    assert telemetry.recent.p95() == (0.5, 1)


def test_an_analysis_that_never_was_at_work_has_no_duration(telemetry: PrometheusTelemetry, value: Value) -> None:
    telemetry.ended(AnalysisState.CANCELLED, "CANCELLED")
    telemetry.ended(AnalysisState.FAILED, "MEDIA_UNREADABLE", Worked(0.25))
    assert value("analyses_ended_total", state="cancelled", reason="CANCELLED") == 1
    assert (value("analysis_duration_seconds_count"), value("analysis_duration_seconds_sum")) == (1, 0.25)
    assert value("media_seconds_total") == 0


def test_what_is_gone_leaves_the_gauges(telemetry: PrometheusTelemetry, value: Value) -> None:
    telemetry.looked([up("gpu/0", works=True)], {"gpu_ratio/0": 0.5, "unknown/x": 1.0}, {Level.WARNING: 3})
    assert (value("health", component="gpu/0"), value("gpu_ratio", gpu="0"), value("alerts", level="warning")) == (
        0,
        0.5,
        3,
    )
    telemetry.looked([up("triton", works=True)], {"gpu_ratio/1": 0.25}, {})
    assert value("health", component="gpu/0") is None
    assert (value("gpu_ratio", gpu="0"), value("gpu_ratio", gpu="1")) == (None, 0.25)
    assert value("alerts", level="warning") == 0


def test_the_build_names_one_triton(telemetry: PrometheusTelemetry) -> None:
    telemetry.triton_started("2.51.0", again=False)
    telemetry.triton_started("2.52.0", again=True)
    (build,) = (each for each in text(telemetry.page("")[0].decode()) if each.name == "reelsift_build_info")
    assert [sample.labels["triton"] for sample in build.samples] == ["2.52.0"]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8"),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("\x00 nonsense;;", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_the_page_is_what_the_client_takes(telemetry: PrometheusTelemetry, accept: str, content_type: str) -> None:
    body, given = telemetry.page(accept)
    assert given.startswith(content_type)
    parse = openmetrics if "openmetrics" in given else text
    names = {family.name for family in parse(body.decode())}
    assert {"reelsift_analyses_created", "process_cpu_seconds", "python_gc_collections"} <= names


def test_a_page_for_nobody_is_empty() -> None:
    assert Telemetry().page("")[0] == b""
    everything(Telemetry())


class OneSpan:
    """A tracer of one span; its trace is kept or not."""

    def __init__(self, sampled: bool) -> None:
        self.traceparent = f"00-{'ab' * 16}-{'cd' * 8}-0{int(sampled)}"

    def start(self, *_: Any) -> OneSpan:
        return self

    def set(self, **attributes: Any) -> None:
        pass

    def fail(self, reason: str) -> None:
        pass

    def end(self) -> None:
        pass


@pytest.mark.parametrize(("sampled", "exemplar"), [(True, {"trace_id": "ab" * 16}), (False, None)])
def test_what_is_traced_has_an_exemplar(
    telemetry: PrometheusTelemetry, sampled: bool, exemplar: Mapping[str, str] | None
) -> None:
    with tracing.installed(OneSpan(sampled)), tracing.span("call"):
        telemetry.called("http", "Search", "OK", 0.2)
    page, _ = telemetry.page(OPENMETRICS)
    (family,) = (each for each in openmetrics(page.decode()) if each.name == "reelsift_request_duration_seconds")
    found = [sample.exemplar.labels for sample in family.samples if sample.exemplar]
    assert found == ([exemplar] if exemplar else [])


UNITS = ("seconds", "bytes", "ratio", "info", "factor")


def test_names_are_those_of_the_field() -> None:
    for each in Metrics().described:
        assert re.fullmatch(r"reelsift(_[a-z]+)+", each.name), each
        assert (each.kind == "counter") == each.name.endswith("_total"), each
        assert all(re.fullmatch(r"[a-z]+", label) for label in each.labels), each
        assert "le" not in each.labels
        assert each.text[0].isupper() or each.text[0].isdigit(), each
        assert each.text.endswith("."), each
        assert len(each.labels) <= 3, "cardinality is a product"
        if each.kind == "histogram":
            assert each.name.endswith(("_seconds", "_factor")), each
            assert list(each.buckets) == sorted(each.buckets)


def test_the_page_in_ops_is_made_of_them() -> None:
    assert (OPS / "metrics.md").read_text() == page(), "python -m orchestrator.adapters.telemetry.page > ops/metrics.md"
