"""Every metric of the service, in one registry: names and units as Prometheus has them, and labels of few values.

``ops/metrics.md`` is made of this, and every rule and dashboard is checked against it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # or every counter would be two series

_REQUEST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30)  # seconds; 2 is the alerts' limit
_ANALYSIS = (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400)  # seconds; 300 is the alerts' limit
# processing seconds per media second; 3 is the alerts' limit
_FACTOR = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5)
_COMMIT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
_INFERENCE = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


@dataclass(frozen=True, slots=True)
class Described:
    """A metric in words. ``buckets``: upper bounds of a histogram's."""

    name: str
    kind: str
    text: str
    labels: tuple[str, ...]
    buckets: tuple[float, ...] = ()


class Metrics:
    """The metrics of one service, in a ``registry`` of its own; ``described`` in the order in which they are declared."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.described: list[Described] = []

        def declared(name: str, kind: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...] = ()) -> str:
            self.described.append(Described(f"reelsift_{name}", kind, text, labels, buckets))
            return f"reelsift_{name}"

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(declared(name, "counter", text, labels), text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(declared(name, "gauge", text, labels), text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            made = declared(name, "histogram", text, labels, buckets)
            return Histogram(made, text, labels, buckets=buckets, registry=registry)

        # --- the service ---
        self.build = gauge("build_info", "1; the labels say what runs.", "version", "python", "triton")
        self.health = gauge("health", "How a component is: 0 healthy, 1 warning, 2 critical.", "component")
        self.alerts = gauge("alerts", "Open alerts of this server's own checks.", "level")
        self.notifications = counter(
            "notifications_total", "Deliveries of alerts, by outcome (delivered, failed).", "outcome"
        )
        self.accepting = gauge("accepting", "Whether new analyses are taken: 0 while draining or in maintenance.")
        self.log_events = counter("log_events_total", "Lines logged at the level warning and above.", "level")

        # --- requests (transport: grpc, http) ---
        self.requests = counter("requests_total", "Calls that ended, by gRPC code.", "transport", "method", "code")
        self.request_seconds = histogram(
            "request_duration_seconds",
            "Unary calls; streams last as long as their media.",
            _REQUEST,
            "transport",
            "method",
        )
        self.requests_running = gauge(
            "requests_in_progress", "Calls under way, streams among them, probes not.", "transport"
        )
        self.upload_bytes = counter("upload_bytes_total", "Bytes of uploads that were acknowledged.")

        # --- analyses ---
        self.created = counter("analyses_created_total", "Analyses accepted.")
        self.ended = counter(
            "analyses_ended_total",
            "Analyses that ended here, by state (lower case) and reason of the failure.",
            "state",
            "reason",
        )
        self.requeued = counter("analyses_requeued_total", "Attempts that went back to the queue, by reason.", "reason")
        self.queued = gauge("analyses_queued", "Analyses that wait, in the whole store.")
        self.queue_seconds = gauge(
            "analyses_oldest_queued_seconds", "Age of the one that has waited longest; 0 if none waits."
        )
        self.running = gauge("analyses_running", "Analyses at work at this server.")
        self.places = gauge("analyses_places", "How many may be at work here at once; 0 while none is begun any more.")
        self.stuck = gauge("analyses_stuck", "Running analyses that have not got on for the setting stuck_seconds.")
        self.idle_seconds = gauge(
            "analyses_longest_idle_seconds", "Since the running analysis that got on least did so."
        )
        self.analysis_seconds = histogram(
            "analysis_duration_seconds", "At work, of an analysis that ended; waiting excluded.", _ANALYSIS
        )
        self.realtime_factor = histogram(
            "analysis_realtime_factor", "Processing seconds per media second of an analysis that succeeded.", _FACTOR
        )
        self.media_seconds = counter("media_seconds_total", "Media that was analysed.")
        self.segments = counter("segments_total", "Segments that were committed.")
        self.stage_seconds = counter(
            "stage_seconds_total",
            "Time that analyses spent by stage (open, fetch, decode, infer, segment, store) and, for infer, analyzer; stages overlap.",
            "stage",
            "analyzer",
        )
        self.commit_seconds = histogram("store_commit_seconds", "Commits of segments.", _COMMIT)
        self.frames = counter(
            "frames_total",
            "Frames of ended analyses by outcome (decoded, corrupt, dropped, skipped, redecoded).",
            "outcome",
        )
        self.frames_analyzed = counter(
            "frames_analyzed_total", "Sampled frames that an analyzer was given in analyses that ended.", "analyzer"
        )
        self.frames_reused = counter(
            "frames_reused_total", "Those among them that took a near-duplicate's answer.", "analyzer"
        )

        # --- decoders and models ---
        self.decoders = gauge("decoders", "Decode workers at work.")
        self.decoder_crashes = counter("decoder_crashes_total", "Decode workers that died at work.")
        self.triton_up = gauge("triton_up", "Whether Triton answers.")
        self.triton_restarts = counter(
            "triton_restarts_total", "Starts of Triton after the first, or connections found anew."
        )
        self.stub_deaths = counter("model_process_deaths_total", "Processes of a model that died.", "model")
        self.model_ready = gauge(
            "model_ready", "Whether a version of a model is loaded and answers.", "model", "version"
        )
        self.inferences = counter(
            "inference_requests_total", "Requests by outcome (answered, lost, refused).", "model", "outcome"
        )
        self.inference_seconds = histogram(
            "inference_duration_seconds", "From the request to its answer.", _INFERENCE, "model"
        )
        self.model_steps = counter(
            "model_steps_total",
            "Steps of rollouts by action; automatic is true for the service's own.",
            "model",
            "action",
            "automatic",
        )

        # --- the machine ---
        self.cpu = gauge("cpu_ratio", "Use of the cores by this service and its processes, 0..1.")
        self.memory = gauge("memory_bytes", "Memory of this service and its processes (proportional set size).")
        self.memory_free = gauge("memory_available_bytes", "What the machine, or the control group, has left.")
        self.memory_total = gauge("memory_limit_bytes", "What the machine, or the control group, has.")
        self.disk_free = gauge("disk_free_bytes", "Free room by place (data, uploads).", "place")
        self.disk_size = gauge("disk_size_bytes", "Size of its file system.", "place")
        self.arena_free = gauge("arena_free_ratio", "Share of the frame arena that is free.")
        self.gpu_memory = gauge("gpu_memory_used_bytes", "Memory in use, by anybody.", "gpu")
        self.gpu_memory_size = gauge("gpu_memory_size_bytes", "Memory of the GPU.", "gpu")
        self.gpu_ratio = gauge("gpu_ratio", "Use of its cores, 0..1.", "gpu")
        self.nvdec_ratio = gauge("nvdec_ratio", "Use of its decoders, 0..1.", "gpu")
        self.certificate_expiry = gauge("certificate_expiry_timestamp_seconds", "When a certificate ends.", "name")
        self.clock_offset = gauge("clock_step_seconds", "The last step of the wall clock against the monotonic one.")

        # --- routine work ---
        self.cleaned_bytes = counter("cleanup_removed_bytes_total", "Bytes that retention removed, by kind.", "kind")
        self.backup_time = gauge(
            "backup_last_success_timestamp_seconds", "Of the newest backup that was verified; 0 if none."
        )

        # What a look at the machine and the store sets, by its name in ``core.statistics.Sample``.
        self.looked_at: Mapping[str, Gauge] = {
            "accepting": self.accepting,
            "queued": self.queued,
            "oldest_queued_seconds": self.queue_seconds,
            "stuck": self.stuck,
            "longest_idle_seconds": self.idle_seconds,
            "cpu_ratio": self.cpu,
            "memory_bytes": self.memory,
            "memory_available_bytes": self.memory_free,
            "memory_limit_bytes": self.memory_total,
            "disk_free_bytes": self.disk_free,
            "disk_size_bytes": self.disk_size,
            "arena_free_ratio": self.arena_free,
            "gpu_memory_used_bytes": self.gpu_memory,
            "gpu_memory_size_bytes": self.gpu_memory_size,
            "gpu_ratio": self.gpu_ratio,
            "nvdec_ratio": self.nvdec_ratio,
            "certificate_expiry_timestamp_seconds": self.certificate_expiry,
            "clock_step_seconds": self.clock_offset,
            "backup_last_success_timestamp_seconds": self.backup_time,
        }
