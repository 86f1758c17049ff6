"""CPU seconds of this command and everything below it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU seconds: of a model's own processes, and of everything, those that have ended included."""

    model: float
    everything: float

    def __sub__(self, before: Cpu) -> Cpu:
        return Cpu(self.model - before.model, self.everything - before.everything)


def used(model: str) -> Cpu:
    """What was used so far. The processes of ``model`` are its Triton stubs."""
    of_model = everything = 0.0
    me = psutil.Process()
    for process in (me, *me.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # what it used is in its parent's account by now
            times = process.cpu_times()
            everything += times.user + times.system + times.children_user + times.children_system
            if _runs(process, model):
                of_model += times.user + times.system
    return Cpu(of_model, everything)


def _runs(process: psutil.Process, model: str) -> bool:
    # triton_python_backend_stub REPOSITORY/MODEL/VERSION/model.onnx ...
    words = process.cmdline()
    return len(words) > 1 and words[0].endswith("triton_python_backend_stub") and f"/{model}/" in words[1]
