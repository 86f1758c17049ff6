"""One contender: the whole service in a process of its own, with a model repository of its own, analysing when it is told to.

    python -m orchestrator.cli.tuning.contender '{"repository": ..., "profiles": ..., "clip": ..., "model": ...}'

It answers on stdout, in JSON, one object a line: ``{}`` when it is ready, then for each line ``{"profile": NAME, "repeats": N}`` on
stdin what that took, and ends when stdin does. ``{"error": ...}`` is its last line where the model cannot be loaded or does not answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from orchestrator import logs
from orchestrator.adapters.frames.arena import Arena
from orchestrator.api.client import AnalysisOptions, ClientError, connect
from orchestrator.app import running_inference
from orchestrator.cli import loop
from orchestrator.cli.inside import inside
from orchestrator.core.frames import Slot
from orchestrator.core.results import ModelVersion
from orchestrator.errors import InferenceUnavailable, ReelsiftError
from orchestrator.pipeline.telemetry import Telemetry
from orchestrator.ports import Inference, Outputs, Tensor
from orchestrator.settings import Settings

QUIET_S, CALM, PATIENCE_S = 0.3, 0.05, 15.0  # before a run the processes use less than ``CALM`` of a core for a while


@dataclass(slots=True)
class Account:
    """Of what a model answered: the sum of a hash of each row's outputs, the same in whatever order and company rows are asked."""

    rows: int = 0
    answers: int = 0

    def note(self, outputs: Outputs, rows: int | None) -> None:
        """Add the first ``rows`` rows (all, by default)."""
        told = min(len(array) for array in outputs.values())
        for row in range(told if rows is None else rows):
            digest = hashlib.blake2b(digest_size=8)
            for name in sorted(outputs):
                digest.update(np.asarray(outputs[name][row]).tobytes())
            self.answers = (self.answers + int.from_bytes(digest.digest())) % 2**64
            self.rows += 1


class Witness:
    """``Inference`` that keeps an ``account`` of what ``model`` answers."""

    def __init__(self, inner: Inference, model: str, account: Account) -> None:
        self._inner, self._model, self.account = inner, model, account

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, Slot | Tensor],
        *,
        output_dims: Mapping[str, tuple[int, ...]] | None = None,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        rows: int | None = None,
    ) -> Outputs:
        """See the port."""
        outputs = await self._inner.infer(model, inputs, output_dims=output_dims, shapes=shapes, rows=rows)
        if model == self._model:
            self.account.note(outputs, rows)
        return outputs

    def batch(self, model: str) -> int:
        """See the port."""
        return self._inner.batch(model)

    def version(self, model: str) -> ModelVersion:
        """See the port."""
        return self._inner.version(model)

    async def ready(self, models: Sequence[str]) -> None:
        """See the port."""
        await self._inner.ready(models)

    @contextmanager
    def pinned(self, key: str) -> Iterator[Inference]:
        """See the port."""
        with self._inner.pinned(key) as view:
            yield Witness(view, self._model, self.account)


async def contend(repository: Path, profiles: Path, clip: Path, model: str) -> None:
    """Serve until stdin ends."""
    witness: Witness | None = None

    @asynccontextmanager
    async def witnessed(settings: Settings, arena: Arena, telemetry: Telemetry) -> AsyncIterator[Inference]:
        nonlocal witness
        async with running_inference(settings, arena, telemetry) as inference:
            witness = Witness(inference, model, Account())
            yield witness

    here = {"model_repository": repository, "profile_dir": profiles, "triton": ""}
    async with inside(here, [clip.parent], witnessed) as address:
        assert witness is not None
        await witness.ready([model])
        lines = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        orders: asyncio.Queue[bytes] = asyncio.Queue()
        listening = asyncio.create_task(_listen(lines, orders))
        working = asyncio.create_task(_work(address, clip, orders, witness.account))
        # When stdin ends nobody waits for what runs.
        await asyncio.wait((listening, working), return_when=asyncio.FIRST_COMPLETED)
        for task in (listening, working):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await working


async def _listen(lines: asyncio.StreamReader, orders: asyncio.Queue[bytes]) -> None:
    while line := await lines.readline():
        orders.put_nowait(line)


async def _work(address: str, clip: Path, orders: asyncio.Queue[bytes], account: Account) -> None:
    _say({})
    while True:
        asked = json.loads(await orders.get())
        await _settle()
        _say(await _run(address, clip, asked["profile"], asked["repeats"], account))


async def _run(address: str, clip: Path, profile: str, repeats: int, account: Account) -> dict[str, object]:
    account.rows = account.answers = frames = 0
    async with connect(address) as client:
        wall, cpu = time.perf_counter(), _cpu()
        for _ in range(repeats):
            seen: dict[str, int] = defaultdict(int)
            options = AnalysisOptions(profile=profile, ignore_known=True, cancel_on_disconnect=True)
            async for response in client.analyze_path(str(clip), options):
                for annotation in response.segment.annotations:
                    seen[annotation.analyzer] += annotation.frames_analyzed
                if response.finished.partial:
                    raise InferenceUnavailable("frames of the clip are missing")
            frames += max(seen.values(), default=0)
        wall, cpu = time.perf_counter() - wall, _cpu() - cpu
    if not (frames and account.rows):
        raise InferenceUnavailable("the model answered nothing")
    return {
        "frames": frames,
        "wall": wall,
        "cpu": cpu,
        "memory": _memory(),
        "answers": f"{account.rows}:{account.answers:016x}",
    }


def _tree() -> list[psutil.Process]:
    own = psutil.Process()
    return [own, *own.children(recursive=True)]


def _cpu() -> float:
    """CPU seconds of this process and all below it so far, ended ones included."""
    total = 0.0
    for process in _tree():
        try:
            total += sum(process.cpu_times()[:4])  # user, system, and the same of children that were waited for
        except psutil.NoSuchProcess:
            continue
    return total


def _memory() -> int:
    """Bytes that this process and all below it hold; of a page that some share each holds its part."""
    total = 0
    for process in _tree():
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):  # the decode workers let nobody look
            continue
    return total


async def _settle() -> None:
    """Wait until the processes have come to rest, ``PATIENCE_S`` seconds at most."""
    before, deadline = _cpu(), time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        await asyncio.sleep(QUIET_S)
        now = _cpu()
        if now - before < CALM * QUIET_S:
            return
        before = now


def _say(answer: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run from the command line."""
    logs.configure("warning")
    given = json.loads(sys.argv[1])
    try:
        loop.run(contend(Path(given["repository"]), Path(given["profiles"]), Path(given["clip"]), given["model"]))
    except (ReelsiftError, ClientError) as error:
        _say({"error": " ".join(str(error).split())})
        sys.exit(1)


if __name__ == "__main__":
    main()
