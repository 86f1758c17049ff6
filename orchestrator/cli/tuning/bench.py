"""Contenders from outside: each is a process (``contender.py``) over a repository in which the model has its config."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.adapters.triton import tunable
from orchestrator.adapters.triton.tunable import TunableConfig
from orchestrator.core.tuning import Run, Setting
from orchestrator.errors import InferenceUnavailable

READY_S = 180.0  # a model that cannot be loaded says so within seconds; one that hangs is given up
STOP_S = 20.0


@dataclass(frozen=True, slots=True)
class Told:
    """A run, and the fingerprint of what the model answered in it."""

    run: Run
    answers: str


class Contender:
    """A running service. Its methods raise ``InferenceUnavailable`` when it cannot do its work."""

    def __init__(self, setting: Setting, process: asyncio.subprocess.Process) -> None:
        self.setting, self._process = setting, process

    async def ready(self) -> None:
        """Wait until the model answers."""
        await self._answer(READY_S)

    async def run(self, profile: str, repeats: int, patience_s: float) -> Told:
        """Analyse the clip ``repeats`` times, within ``patience_s`` seconds."""
        assert self._process.stdin is not None
        with suppress(ConnectionError):  # then the answer is that it has ended
            self._process.stdin.write(json.dumps({"profile": profile, "repeats": repeats}).encode() + b"\n")
            await self._process.stdin.drain()
        told = await self._answer(patience_s)
        return Told(Run(told["frames"], told["wall"], told["cpu"], told["memory"]), told["answers"])

    async def stop(self) -> None:
        """End it and everything it started; may be called twice."""
        if self._process.returncode is not None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _answer(self, patience_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), patience_s)
        except TimeoutError:
            raise InferenceUnavailable(f"no answer within {patience_s:.0f} s") from None
        answer: dict[str, Any] = json.loads(line) if line else {"error": "its process has ended"}
        if "error" in answer:
            raise InferenceUnavailable(answer["error"])
        return answer


@dataclass
class Bench:
    """Starts contenders over copies of ``repository``, in ``folder``, with ``base`` as the config that a setting is put into."""

    repository: Path
    base: TunableConfig
    clip: Path
    folder: Path
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def profiles(self) -> Path:
        """Where the profiles lie that contenders know."""
        return self.folder / "profiles"

    async def start(self, setting: Setting) -> Contender:
        """A contender with ``setting``, which need not be ready yet."""
        place = self.folder / str(next(self._numbers))
        trial = self.base.with_setting(setting)
        await asyncio.to_thread(tunable.lay_out, self.repository, trial, place / "models")
        given = {"repository": place / "models", "profiles": self.profiles, "clip": self.clip, "model": self.base.model}
        with (place / "log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "orchestrator.cli.tuning.contender", json.dumps(given, default=str),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log,
            )  # fmt: skip
        return Contender(setting, process)
