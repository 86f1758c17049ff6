"""What the service tells of itself, as Prometheus' metrics."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping
from threading import Lock

from prometheus_client import Gauge, GCCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

from orchestrator import __version__, tracing
from orchestrator.adapters.telemetry.metrics import Metrics
from orchestrator.core.alerting import Level
from orchestrator.core.health import Reading
from orchestrator.core.jobs import AnalysisState
from orchestrator.core.recent import Recent
from orchestrator.pipeline.telemetry import ModelsLook, Telemetry, TritonPage, Worked

_FATES = ("decoded", "corrupt", "dropped", "skipped", "redecoded")  # of frames, as a ledger names them
_APART = frozenset({"Live", "Ready", "Metrics", "Check", "StageVersion"})
_WARNINGS = ("warning", "error", "critical")


class PrometheusTelemetry(Telemetry):
    """Counts everything in ``metrics``, beside what Prometheus' library knows of any Python process. ``recent`` knows how long unary calls
    lately took; probes, which come all day and are quick, and steps of rollouts, which take minutes, are not asked about there.
    """

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.recent = Recent()
        ProcessCollector(registry=self.metrics.registry)
        GCCollector(registry=self.metrics.registry)
        self._serving: Callable[[], bool] = lambda: False
        self._models: ModelsLook = lambda: ()
        self._triton_page: TritonPage = super().triton_page
        self._looking = Lock()
        self._begin()

    def _begin(self) -> None:
        """What may happen and has not is 0, not unknown: else the first time would be no increase."""
        metrics = self.metrics
        self.triton_started("", again=False)
        for level in _WARNINGS:
            metrics.log_events.labels(level)
        for outcome in ("delivered", "failed"):
            metrics.notifications.labels(outcome)
        for transport in ("grpc", "http"):
            metrics.requests_running.labels(transport)
        for fate in _FATES:
            metrics.frames.labels(fate)
        for state in AnalysisState:
            if state.ended:
                metrics.ended.labels(state.value.lower(), "")

    def page(self, accept: str) -> tuple[bytes, str]:
        """See ``Telemetry``."""
        metrics = self.metrics
        with self._looking:
            metrics.triton_up.set(self._serving())
            _replace(metrics.model_ready, {(model, version): ready for model, version, ready in self._models()})
        encode, content_type = choose_encoder(accept)
        return encode(metrics.registry), content_type

    async def triton_page(self) -> str:
        """See ``Telemetry``."""
        return await self._triton_page()

    def logged(self, level: str) -> None:
        """A warning or an error was logged."""
        self.metrics.log_events.labels(level).inc()

    # --- calls of clients ---

    def calling(self, transport: str, change: int) -> None:
        """See ``Telemetry``."""
        self.metrics.requests_running.labels(transport).inc(change)

    def called(self, transport: str, method: str, code: str, seconds: float | None) -> None:
        """See ``Telemetry``."""
        self.metrics.requests.labels(transport, method, code).inc()
        if seconds is not None:
            self.metrics.request_seconds.labels(transport, method).observe(seconds, _exemplar())
            if method not in _APART:
                self.recent.add(seconds)

    def uploaded(self, nbytes: int) -> None:
        """See ``Telemetry``."""
        self.metrics.upload_bytes.inc(nbytes)

    # --- analyses ---

    def created(self) -> None:
        """See ``Telemetry``."""
        self.metrics.created.inc()

    def working(self, running: int, places: int) -> None:
        """See ``Telemetry``."""
        self.metrics.running.set(running)
        self.metrics.places.set(places)

    def spent(self, stage: str, seconds: float) -> None:
        """See ``Telemetry``. What models take is a part of what their analyzers do, and has a metric of its own."""
        kind, _, analyzer = stage.partition("/")
        if kind != "model":
            self.metrics.stage_seconds.labels(kind, analyzer).inc(seconds)

    def committed(self, seconds: float) -> None:
        """See ``Telemetry``."""
        self.metrics.segments.inc()
        self.metrics.commit_seconds.observe(seconds)

    def requeued(self, reason: str) -> None:
        """See ``Telemetry``."""
        self.metrics.requeued.labels(reason).inc()

    def ended(self, state: AnalysisState, reason: str = "", worked: Worked | None = None) -> None:
        """See ``Telemetry``."""
        metrics = self.metrics
        metrics.ended.labels(state.value.lower(), reason).inc()
        if worked is None:
            return
        for analyzer, (frames, reused) in worked.spent.frames.items():
            metrics.frames_analyzed.labels(analyzer).inc(frames)
            metrics.frames_reused.labels(analyzer).inc(reused)
        seconds, finished = worked.seconds, worked.finished
        if finished is not None:
            seconds, media_seconds = finished.elapsed_ns / 1e9, finished.media_ns / 1e9
            metrics.media_seconds.inc(media_seconds)
            if media_seconds:
                metrics.realtime_factor.observe(seconds / media_seconds, _exemplar())
            for fate in _FATES:
                metrics.frames.labels(fate).inc(getattr(finished.ledger, fate))
        metrics.analysis_seconds.observe(seconds, _exemplar())

    # --- decoders and models ---

    def decoding(self, change: int) -> None:
        """See ``Telemetry``."""
        self.metrics.decoders.inc(change)

    def decoder_crashed(self) -> None:
        """See ``Telemetry``."""
        self.metrics.decoder_crashes.inc()

    def inferred(self, model: str, outcome: str, seconds: float) -> None:
        """See ``Telemetry``."""
        self.metrics.inferences.labels(model, outcome).inc()
        self.metrics.inference_seconds.labels(model).observe(seconds)

    def model_died(self, model: str) -> None:
        """See ``Telemetry``."""
        self.metrics.stub_deaths.labels(model).inc()

    def triton_started(self, version: str, *, again: bool) -> None:
        """See ``Telemetry``."""
        _replace(self.metrics.build, {(__version__, platform.python_version(), version): 1})
        if again:
            self.metrics.triton_restarts.inc()

    def watch_models(self, serving: Callable[[], bool], models: ModelsLook, page: TritonPage) -> None:
        """See ``Telemetry``."""
        self._serving, self._models, self._triton_page = serving, models, page

    def stepped(self, model: str, action: str, *, automatic: bool) -> None:
        """See ``Telemetry``."""
        self.metrics.model_steps.labels(model, action.lower(), str(automatic).lower()).inc()

    # --- what the service sees of itself ---

    def looked(self, readings: Iterable[Reading], values: Mapping[str, float], alerts: Mapping[Level, int]) -> None:
        """See ``Telemetry``. What is gone (a disk, a GPU) leaves the gauges; values that are no metrics are left out."""
        metrics = self.metrics
        _replace(metrics.health, {(reading.component,): reading.status for reading in readings})
        _replace(metrics.alerts, {(level.value.lower(),): alerts.get(level, 0) for level in Level})
        found: dict[str, dict[tuple[str, ...], float]] = {}
        for name, value in values.items():
            quantity, slash, label = name.partition("/")
            found.setdefault(quantity, {})[(label,) if slash else ()] = value
        for quantity, by_label in found.items():
            gauge = metrics.looked_at.get(quantity)
            if gauge is not None:
                _replace(gauge, by_label)

    def notified(self, outcome: str) -> None:
        """See ``Telemetry``."""
        self.metrics.notifications.labels(outcome).inc()

    def removed(self, kind: str, nbytes: int) -> None:
        """See ``Telemetry``."""
        self.metrics.cleaned_bytes.labels(kind).inc(nbytes)


def _replace(gauge: Gauge, values: Mapping[tuple[str, ...], float]) -> None:
    """Set the gauge for these labels, and for no others any more."""
    if () in values:
        gauge.set(values[()])
        return
    for key in [tuple(sample.labels.values()) for family in gauge.collect() for sample in family.samples]:
        if key not in values:
            gauge.remove(*key)
    for key, value in values.items():
        gauge.labels(*key).set(value)


def _exemplar() -> dict[str, str] | None:
    """The trace of what is measured, if somebody keeps it."""
    trace_id = tracing.trace_id(sampled=True)
    return {"trace_id": trace_id} if trace_id else None
