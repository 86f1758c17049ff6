"""Runs of everything that is compared: each a process of its own, except for servers that are warm already."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from tests.benchmarks import service
from tests.benchmarks.cpu import Others
from tests.benchmarks.figures import Run, limit_of
from tests.benchmarks.footage import wanted
from tests.benchmarks.service import Analysed, Service


class WrongAnswer(RuntimeError):
    """A contender did not answer for all frames, so that its time says nothing."""


def script(module: str, *arguments: object) -> dict[str, float]:
    """The JSON that ``python -m tests.benchmarks.MODULE ARGUMENTS`` prints. Raises ``RuntimeError``."""
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{module} failed: {done.stderr.strip()[-2000:]}")
    answer: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


class Contenders:
    """Starts servers when they are first needed; remembers how much of the cores others took during each run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.others: list[float] = []
        self._stack = ExitStack()
        self._services: dict[str, Service] = {}
        self.profiles = folder / "profiles"
        self.profiles.mkdir()
        for fps in (0, 5, 2):
            service.write_profile(self.profiles, f"labels{fps}", fps)
        service.write_profile(self.profiles, "windows", 2, window=2.0)
        service.write_profile(self.profiles, "shreds", 0, window=1.0, keyframes=True)

    def __enter__(self) -> Contenders:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    async def limit(self, clip: Path, frames: int, fps: int) -> Run:
        """Bare decode and bare model, one after the other, over the cores."""
        rows = len(wanted(frames, fps))
        with Others() as others:
            decoding = await asyncio.to_thread(script, "bare", "decode", clip, fps)
            inferring = await asyncio.to_thread(script, "bare", "infer", clip, rows)
        self.others.append(others.cores)
        _check("bare decoding", int(decoding["scaled"]), rows)
        return limit_of(rows, {"decode": decoding["cpu"], "infer": inferring["cpu"]}, service.cores())

    async def ours(self, clip: Path, frames: int, fps: int, *, triton: bool = True) -> Run:
        """The whole service (or the same with ONNX Runtime in place of Triton)."""
        analysed = await self.analyze(clip, f"labels{fps}", triton=triton)
        _check("the service", analysed.run.frames, len(wanted(frames, fps)))
        return analysed.run

    async def peer(self, name: str, clip: Path, frames: int) -> Run:
        """A peer at every frame, by its module in ``peers`` and its form: ``naive``, ``litserve_client raw``."""
        module, *form = name.split()
        said = await asyncio.to_thread(script, f"peers.{module}", clip, *form)
        _check(name, int(said["frames"]), frames)
        self.others.append(said["others"])
        return Run(int(said["frames"]), said["wall"], said["cpu"], said["others"])

    async def analyze(self, clip: Path, profile: str, *, triton: bool = True) -> Analysed:
        """One analysis by a warm server."""
        server = await self.service(profile, triton=triton)
        with Others() as others:
            analysed = await server.analyze(clip, profile)
        self.others.append(others.cores)
        return replace(analysed, run=replace(analysed.run, others=others.cores))

    async def first_segment(self, clip: Path) -> float:
        """Seconds to the first segment of two seconds, labels at 2 fps, by a warm server."""
        server = await self.service("windows")
        return await server.first_segment(clip, "windows")

    def bare_server(self, name: str, messages: bytes = b"", *, upload: Path | None = None) -> Service:
        """A server that has these messages and nothing else to do; uploads are forgotten, or written to the file ``upload``."""
        file, address = self.folder / f"{name}.messages", f"unix:{self.folder}/{name}.sock"
        file.write_bytes(messages)
        command = [sys.executable, "-m", "tests.benchmarks.bare_server", address, str(file)]
        if upload is not None:
            command.append(str(upload))
        return self._stack.enter_context(service.running(command, address, self.folder / f"{name}.log"))

    async def service(self, profile: str, *, triton: bool = True, streams: int = 0) -> Service:
        """A running server that has analysed a short clip with ``profile`` once; with ``streams`` analyses at once, if not as many as by
        default.
        """
        name = f"wide{streams}" if streams else "triton" if triton else "plain"
        if name not in self._services:
            address = f"unix:{self.folder}/{name}.sock"
            make = service.serve_command if triton else service.without_triton_command
            command, log = make(address, self.profiles, self.folder), self.folder / f"{name}.log"
            settings = {"REELSIFT_MAX_RUNNING": str(streams)} if streams else {}
            self._services[name] = self._stack.enter_context(service.running(command, address, log, settings))
        warmed = f"{name} {profile}"
        if warmed not in self._services:
            await self._services[name].analyze(self.folder / "warm.mp4", profile)
            self._services[warmed] = self._services[name]
        return self._services[name]


def _check(who: str, answered: int, due: int) -> None:
    if answered != due:
        raise WrongAnswer(f"{who} answered {answered} frames of {due}")
