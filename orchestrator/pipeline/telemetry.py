"""What the service tells of itself while it works: once per request, per segment and per event, never per frame.

Whoever counts overrides what it wants to hear (``adapters/telemetry/prometheus.py`` hears everything).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.core.alerting import Level
from orchestrator.core.health import Reading
from orchestrator.core.jobs import AnalysisState
from orchestrator.core.results import Finished
from orchestrator.core.statistics import Spent

ModelsLook = Callable[[], Iterable[tuple[str, str, bool]]]
"""Tells each loaded model: its name, its version, and whether it answers."""

TritonPage = Callable[[], Awaitable[str]]
"""Asks Triton for its own page of metrics; empty where its address is not known. Raises ``InferenceUnavailable``."""


@dataclass(frozen=True, slots=True)
class Worked:
    """What became of an analysis that ended: ``seconds`` of the last attempt, ``spent`` by all of them; ``finished`` if it succeeded."""

    seconds: float
    spent: Spent = field(default_factory=Spent)
    finished: Finished | None = None


class Telemetry:
    """Hears nothing: every method returns at once. No heir raises or waits in one; all but ``page`` are called
    on the event loop. Times are seconds, sizes bytes."""

    def page(self, accept: str) -> tuple[bytes, str]:
        """Everything that was heard, in a form that the header ``accept`` takes, and its content type. From any thread; it may take
        milliseconds."""
        return b"", "text/plain; charset=utf-8"

    async def triton_page(self) -> str:
        """What Triton itself has counted; empty where that is not to be had here. Raises ``InferenceUnavailable`` while it is away."""
        return ""

    # --- calls of clients ---

    def calling(self, transport: str, change: int) -> None:
        """A call began (1) or ended (-1). ``transport``: ``grpc`` or ``http``."""

    def called(self, transport: str, method: str, code: str, seconds: float | None) -> None:
        """A call ended. ``method``: a name of ours, never the client's; ``seconds``: ``None`` for a stream, which lasts as long as its
        media."""

    def uploaded(self, nbytes: int) -> None:
        """Bytes of an upload are on disk."""

    # --- analyses ---

    def created(self) -> None:
        """An analysis was accepted."""

    def working(self, running: int, places: int) -> None:
        """How many analyses are at work here, and how many may be."""

    def spent(self, stage: str, seconds: float) -> None:
        """An analysis spent time in a stage, named as in ``core.statistics.Stats``."""

    def committed(self, seconds: float) -> None:
        """A segment was committed, which took so long."""

    def requeued(self, reason: str) -> None:
        """An attempt went back to the queue."""

    def ended(self, state: AnalysisState, reason: str = "", worked: Worked | None = None) -> None:
        """An analysis ended; ``reason`` of its failure; ``worked``: none if it never was at work here."""

    # --- decoders and models ---

    def decoding(self, change: int) -> None:
        """A decode worker began (1) or left (-1) its work."""

    def decoder_crashed(self) -> None:
        """A decode worker died at work."""

    def inferred(self, model: str, outcome: str, seconds: float) -> None:
        """A request to a model ended: ``answered``, ``lost`` or ``refused``."""

    def model_died(self, model: str) -> None:
        """A process of a model died."""

    def triton_started(self, version: str, *, again: bool) -> None:
        """Triton answers, ``again`` after it was away."""

    def watch_models(self, serving: Callable[[], bool], models: ModelsLook, page: TritonPage) -> None:
        """How to find out whether Triton and its models answer: asked when somebody wants to know, from any thread. ``page``: what it has
        counted, asked on the event loop."""

    def stepped(self, model: str, action: str, *, automatic: bool) -> None:
        """A model's rollout took a step."""

    # --- what the service sees of itself ---

    def looked(self, readings: Iterable[Reading], values: Mapping[str, float], alerts: Mapping[Level, int]) -> None:
        """A look at everything: ``values`` as in ``core.statistics.Sample``, ``alerts`` that are open, by level."""

    def notified(self, outcome: str) -> None:
        """The news of an alert were ``delivered``, or ``failed``."""

    def removed(self, kind: str, nbytes: int) -> None:
        """Retention removed something."""
