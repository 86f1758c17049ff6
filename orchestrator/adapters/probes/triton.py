"""Whether Triton answers, and each model that is used."""

from __future__ import annotations

import time
from collections.abc import Callable

from orchestrator.adapters.probes.pace import Rate
from orchestrator.core.health import Limits, Reading, Seen, Status, up
from orchestrator.pipeline.operation_ports import Observable, Standing

ANSWER_SECONDS = 2.0
AGAIN_SECONDS = 30.0  # between two tries to load a model that could not be loaded


class Triton:
    """``triton``, and ``model/NAME`` for every model that was wanted so far. A model whose processes die again and again is not well,
    though it answers between two deaths; ``deaths`` are its limits within a minute.

    One that could not be loaded is tried again: whoever mended it sees so here, and not only with the next analysis.
    """

    name = "triton"

    def __init__(self, inference: Observable, deaths: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._inference, self._deaths, self._clock = inference, deaths, clock
        self._rates: dict[str, Rate] = {}
        self._tried: dict[str, float] = {}

    async def look(self) -> Seen:
        """See the port."""
        lives = await self._inference.live(ANSWER_SECONDS)
        detail = "" if lives else f"no answer within {ANSWER_SECONDS:g} s"
        standings = self._inference.standings()
        values = {f"model_ready/{name}": float(each.ready) for name, each in standings.items()}
        for name, standing in standings.items():
            if lives and not standing.ready and not standing.loading:
                self._try_again(name)
        models = [self._model(name, standing) for name, standing in standings.items()]
        return Seen((up("triton", lives, detail), *models), {"triton_up": float(lives), **values})

    def _model(self, name: str, standing: Standing) -> Reading:
        component = f"model/{name}"
        deaths = self._rates.setdefault(name, Rate(clock=self._clock)).see(standing.deaths)
        if standing.loading:
            return Reading(component, Status.HEALTHY, 0.0, detail="it is loaded for the first time")
        if not standing.ready:
            return up(component, False, standing.why)
        status = self._deaths.judge(deaths)
        detail = f"{deaths} of its processes died within a minute" if deaths else ""
        return Reading(component, status, 1.0, detail=detail)

    def _try_again(self, name: str) -> None:
        now = self._clock()
        if now - self._tried.get(name, -AGAIN_SECONDS) >= AGAIN_SECONDS:
            self._tried[name] = now
            self._inference.want_again(name)
