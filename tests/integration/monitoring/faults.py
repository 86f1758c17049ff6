"""A stand-in for two servers whose metrics are those of the service, and can be made to tell of every fault there is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, Gauge, make_wsgi_app

from orchestrator.adapters.telemetry.metrics import Metrics

TICK_SECONDS = 0.2
_YEAR = 365 * 86400.0


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class TritonPage:
    """Those of Triton's metrics that rules use, as Triton names them."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        # Counters of Triton have no _total, which prometheus_client would add: to a scraper a gauge is the same.
        self.success = Gauge("nv_inference_request_success", "-", ["model", "version"], registry=registry)
        self.failure = Gauge("nv_inference_request_failure", "-", ["model", "version", "reason"], registry=registry)
        self.queue = Gauge("nv_inference_queue_duration_us", "-", ["model", "version"], registry=registry)
        self.gpu_memory = Gauge("nv_gpu_memory_used_bytes", "-", ["gpu_uuid"], registry=registry)
        self.gpu_size = Gauge("nv_gpu_memory_total_bytes", "-", ["gpu_uuid"], registry=registry)


@dataclass
class Stand:
    """``a`` serves Triton's page, too; ``b`` has what ``a`` cannot have at the same time. ``broken``: everything is, but Triton is there.
    ``without_triton``: that is all; ``consequences``: what comes of it."""

    a: Metrics = field(default_factory=Metrics)
    b: Metrics = field(default_factory=Metrics)
    triton: TritonPage = field(default_factory=TritonPage)
    broken: bool = True
    without_triton: bool = False
    consequences: bool = False

    def __post_init__(self) -> None:
        self._began = Gauge("process_start_time_seconds", "-", registry=self.a.registry)

    def tick(self) -> None:
        """A moment of two busy servers."""
        for metrics in (self.a, self.b):
            _work(metrics)
        _triton_works(self.triton)
        if self.broken:
            _break(self.a)
            _break_the_rest(self.b)
            self._began.set(time.time())
            self.triton.failure.labels("labels", "1", "BACKEND").inc(20)
            self.triton.queue.labels("labels", "1").inc(200e6)
            self.triton.gpu_memory.labels("GPU-1").set(95)
        if self.without_triton:
            self.a.triton_up.set(0)
        if self.consequences:
            self.a.model_ready.labels("labels", "1").set(0)
            self.a.requests.labels("http", "GET", "UNAVAILABLE").inc(5)
            self.a.request_seconds.labels("http", "GET").observe(8)


def _work(metrics: Metrics) -> None:
    """All is well."""
    metrics.accepting.set(1)
    metrics.triton_up.set(1)
    metrics.places.set(2)
    metrics.running.set(1)
    for gauge in (metrics.queued, metrics.queue_seconds, metrics.stuck, metrics.idle_seconds, metrics.clock_offset):
        gauge.set(0)
    metrics.cpu.set(0.3)
    metrics.memory.set(10)
    metrics.memory_free.set(90)
    metrics.memory_total.set(100)
    metrics.disk_free.labels("data").set(60)
    metrics.disk_free.labels("uploads").set(60)
    metrics.disk_size.labels("data").set(100)
    metrics.disk_size.labels("uploads").set(100)
    metrics.gpu_memory.labels("0").set(10)
    metrics.gpu_memory_size.labels("0").set(100)
    metrics.certificate_expiry.labels("api.pem").set(time.time() + _YEAR)
    metrics.backup_time.set(time.time())
    metrics.model_ready.labels("labels", "1").set(1)
    for component in ("database", "artifacts", "cpu", "disk/data", "gpu/0"):
        metrics.health.labels(component).set(0)
    metrics.requests.labels("http", "GET", "OK").inc(2)
    metrics.request_seconds.labels("http", "GET").observe(0.01)
    metrics.ended.labels("succeeded", "").inc()
    metrics.analysis_seconds.observe(5)
    metrics.realtime_factor.observe(0.2)
    metrics.frames.labels("decoded").inc(100)
    metrics.inferences.labels("labels", "answered").inc(10)


def _triton_works(page: TritonPage) -> None:
    page.success.labels("labels", "1").inc(10)
    page.gpu_memory.labels("GPU-1").set(10)
    page.gpu_size.labels("GPU-1").set(100)


def _break(metrics: Metrics) -> None:
    """All that can go wrong at one time."""
    metrics.running.set(0)
    metrics.queued.set(150)
    metrics.queue_seconds.set(4000)
    metrics.stuck.set(2)
    metrics.idle_seconds.set(4000)
    metrics.clock_offset.set(100 + time.time() % 10)
    metrics.cpu.set(0.99)
    metrics.memory.set(40 + time.time() % 1000)
    metrics.memory_free.set(2)
    metrics.disk_free.labels("data").set(15)
    metrics.disk_free.labels("uploads").set(5)
    metrics.gpu_memory.labels("0").set(98)
    metrics.certificate_expiry.labels("api.pem").set(time.time() + 86400)
    metrics.backup_time.set(0)
    metrics.model_ready.labels("labels", "1").set(0)
    metrics.health.labels("database").set(2)
    metrics.health.labels("artifacts").set(2)
    metrics.health.labels("cpu").set(1)
    metrics.requests.labels("http", "GET", "INTERNAL").inc(5)
    metrics.request_seconds.labels("http", "GET").observe(8)
    metrics.ended.labels("quarantined", "DECODER_CRASHED").inc(5)
    metrics.analysis_seconds.observe(900)
    metrics.realtime_factor.observe(40)
    metrics.frames.labels("dropped").inc()
    metrics.frames.labels("corrupt").inc(50)
    metrics.inferences.labels("labels", "lost").inc(10)
    metrics.log_events.labels("error").inc()
    metrics.notifications.labels("failed").inc()
    metrics.decoder_crashes.inc()
    metrics.triton_restarts.inc()
    metrics.stub_deaths.labels("labels").inc()
    metrics.model_steps.labels("labels", "rollback", "true").inc()


def _break_the_rest(metrics: Metrics) -> None:
    """What another server must suffer: it takes nothing, has lost its GPU, and its disk fills while there is room yet."""
    metrics.accepting.set(0)
    metrics.running.set(0)
    metrics.health.labels("gpu/0").set(2)
    metrics.disk_free.labels("data").set(45 - time.time() % 30)


@contextmanager
def running(stand: Stand) -> Iterator[tuple[str, str]]:
    """The addresses of both servers, as HOST:PORT."""
    ending = threading.Event()

    def live() -> None:
        while not ending.wait(TICK_SECONDS):
            stand.tick()

    pages = {"/metrics": stand.a.registry, "/metrics/triton": stand.triton.registry}
    with served(pages) as a, served({"/metrics": stand.b.registry}) as b:
        living = threading.Thread(target=live)
        living.start()
        try:
            yield a, b
        finally:
            ending.set()
            living.join()


@contextmanager
def served(pages: dict[str, CollectorRegistry], port: int = 0) -> Iterator[str]:
    """A server of metrics, by path."""
    apps = {path: make_wsgi_app(registry) for path, registry in pages.items()}

    def answer(environ: dict[str, str], start: Callable[..., object]) -> object:
        path = environ["PATH_INFO"]
        return apps[path](environ | {"PATH_INFO": "/"}, start)

    server = make_server("127.0.0.1", port, answer, handler_class=_Quiet)  # type: ignore[arg-type]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
