"""What a version must pass before it may be asked for an analysis: files, load, parity, latency, memory.

It is asked beside the stable version, which serves on meanwhile. Whatever a version does, to crash, to hang, to answer wrongly,
ends in a ``RailHit`` that says so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import grpc

from orchestrator.adapters.triton import golden, integrity
from orchestrator.adapters.triton.connection import Connection
from orchestrator.adapters.triton.contract import ModelContract, TensorSpec
from orchestrator.adapters.triton.golden import Golden
from orchestrator.adapters.triton.model import Model, Phase
from orchestrator.adapters.triton.repository import Repository
from orchestrator.adapters.triton.supervisor import Supervisor
from orchestrator.adapters.triton.transport import Call, Transport
from orchestrator.core.rollout import Budgets, Hit, Rail
from orchestrator.errors import FilesRefused, InferenceUnavailable, ReelsiftError
from orchestrator.pipeline.model_ports import RailHit
from orchestrator.ports import Outputs

Evidence = dict[str, float | str]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the parts of an examination may take, in seconds, and how often is asked."""

    load_s: float = 120.0
    answer_s: float = 20.0
    warm_rounds: int = 3
    warm_s: float = 10.0
    timed: int = 12  # golden batches of each version
    repeated: int = 60  # of each instance: what leaks shows
    repeated_s: float = 30.0
    rest: float = 8.0  # after each request, times what it took: the stable version is to serve as before
    rest_s: float = 1.0  # and no longer


@dataclass
class Examination:
    """Of ``version`` of ``model``, Triton's ``name``, beside ``stable``. ``resident(name)``: bytes of its processes."""

    supervisor: Supervisor
    transport: Transport
    repository: Repository
    resident: Callable[[str], int]
    budgets: Budgets
    patience: Patience
    model: str
    version: int
    name: str
    stable: str
    evidence: Evidence = field(default_factory=dict)

    async def run(self) -> Evidence:
        """What was measured. Raises ``RailHit``, or ``InferenceUnavailable`` when Triton, or the stable version, is away."""
        batches, tolerances = await self._files()
        await self.supervisor.ready([self.stable])
        state = await self._load()
        assert state.contract is not None, "a ready model has a contract"
        theirs = self.supervisor.model(self.stable).contract
        assert theirs is not None, "a ready model has a contract"
        if difference := unlike(state.contract, theirs):
            raise self._hit(Rail.LOAD, f"it has another contract: {difference}")
        mine = self._requests(batches, state)
        calls = [call for requests in mine for call, _ in requests]
        await self._warm_up(calls, state.contract.instances)
        await self._parity([request for requests in mine for request in requests], tolerances)
        if calls:
            await self._latency(mine, self._requests(batches, self.supervisor.model(self.stable)))
            await self._memory(calls, state.contract.instances)
        return self.evidence

    # --- its parts ---------------------------------------------------------------------------------------------------

    async def _files(self) -> tuple[Sequence[Golden], Mapping[str, float]]:
        try:
            if await asyncio.to_thread(self.repository.manifest, self.model, self.version) is None:
                raise self._hit(Rail.FILES, f"{self.model} version {self.version} has no manifest")
            await asyncio.to_thread(integrity.check, self.repository, self.model, self.version)
            return await asyncio.to_thread(golden.read, self.repository, self.model, self.version)
        except FilesRefused as error:
            raise self._hit(Rail.FILES, str(error)) from error

    async def _load(self) -> Model:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self.patience.load_s):
                await self.supervisor.ready([self.name])
        except TimeoutError:
            raise self._hit(Rail.LOAD, f"it did not load within {self.patience.load_s:g} s") from None
        except ReelsiftError as error:
            if not self.supervisor.serving:
                raise
            rail = Rail.FILES if isinstance(error.__cause__, FilesRefused) else Rail.LOAD
            raise self._hit(rail, str(error)) from error
        self.evidence["load_s"] = time.monotonic() - began
        return self.supervisor.model(self.name)

    def _requests(self, batches: Sequence[Golden], state: Model) -> list[Sequence[golden.Request]]:
        """The requests of each batch. An old export has none: then zeros are asked, where the dims of the model say how many."""
        assert state.contract is not None, "a ready model has a contract"
        self.evidence["golden_batches"] = float(len(batches))
        if not batches:
            self.evidence["parity"] = "not checked: it was exported without golden answers"
            zeros = state.probe()
            return [[(zeros, {})]] if zeros is not None else []
        try:
            return [batch.calls(state.contract) for batch in batches]
        except ValueError as error:
            raise self._hit(Rail.PARITY, f"its golden batches are none of its contract: {error}") from error

    async def _warm_up(self, calls: Sequence[Call], instances: int) -> None:
        """As many at once as there are instances, so that each has some."""
        until = time.monotonic() + self.patience.warm_s
        for call in [*calls] * self.patience.warm_rounds:
            if time.monotonic() < until:
                await self._all(call, instances)

    async def _parity(self, requests: Sequence[golden.Request], tolerances: Mapping[str, float]) -> None:
        for call, expected in requests:
            began = time.monotonic()
            answer = await self._ask(call)
            await self._rest(time.monotonic() - began)
            for output, error in golden.worst(call, expected, answer, tolerances).items():
                key = f"parity_{output}"
                self.evidence[key] = max(float(self.evidence.get(key, 0.0)), error)
                if error > 1:
                    raise self._hit(
                        Rail.PARITY, f"its answer {output!r} to a golden batch is {error:.3g} times the tolerance off"
                    )

    async def _latency(
        self, mine: Sequence[Sequence[golden.Request]], theirs: Sequence[Sequence[golden.Request]]
    ) -> None:
        """Both in turn, so that what else the machine does slows both."""
        ours, stables = [], []
        for number in range(self.patience.timed):
            ours.append(await _timed(mine[number % len(mine)], self._ask))
            stables.append(await _timed(theirs[number % len(theirs)], self._ask_stable))
            await self._rest(ours[-1] + stables[-1])
        a, b = median(ours), median(stables)
        self.evidence |= {"latency_s": a, "stable_latency_s": b, "latency_ratio": a / b}
        if a > b * self.budgets.latency_ratio + self.budgets.latency_slack_s:
            raise self._hit(Rail.LATENCY, f"it answers a golden batch in {a:.3f} s, the stable version in {b:.3f} s")

    async def _memory(self, calls: Sequence[Call], instances: int) -> None:
        first, until, asked = self.resident(self.name), time.monotonic() + self.patience.repeated_s, 0
        while asked < self.patience.repeated and time.monotonic() < until:
            await self._all(calls[asked % len(calls)], instances)
            asked += 1
        now, stable = self.resident(self.name), self.resident(self.stable)
        grown = now - first
        self.evidence |= {
            "resident_bytes": float(now),
            "stable_resident_bytes": float(stable),
            "grown_bytes": float(grown),
        }
        if grown > self.budgets.growth_bytes:
            raise self._hit(Rail.MEMORY, f"its processes grew by {grown >> 20} MiB over {asked * instances} requests")
        if stable and now > stable * self.budgets.memory_ratio + self.budgets.memory_slack_bytes:
            raise self._hit(Rail.MEMORY, f"its processes take {now >> 20} MiB, the stable version's {stable >> 20}")

    # --- asking ------------------------------------------------------------------------------------------------------

    async def _ask(self, call: Call) -> Outputs:
        """One request, not repeated. Raises ``RailHit`` when it has no answer."""
        state = self.supervisor.find(self.name)
        if not self.supervisor.serving:
            raise InferenceUnavailable("Triton ended during the examination")
        if state is None or state.phase is not Phase.READY:
            raise self._hit(Rail.ERRORS, "a process of it died")
        _, connection = await self.supervisor.healed(self.name)
        try:
            return await self._attempt(state, connection, call)
        except TimeoutError:
            raise self._hit(Rail.ERRORS, f"it did not answer within {self.patience.answer_s:g} s") from None
        except grpc.RpcError as error:
            if await self.supervisor.is_over(connection, error):
                raise InferenceUnavailable("Triton ended during the examination") from error
            raise self._hit(Rail.ERRORS, f"it lost or refused a request: {error.details()}") from error

    async def _all(self, call: Call, instances: int) -> None:
        """Ask every instance, and rest; raises the first error once all have ended."""
        began = time.monotonic()
        answers = await asyncio.gather(*(self._ask(call) for _ in range(instances)), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        await self._rest(time.monotonic() - began)

    async def _rest(self, behind: float) -> None:
        """After work of so many seconds."""
        await asyncio.sleep(min(self.patience.rest * behind, self.patience.rest_s))

    async def _ask_stable(self, call: Call) -> Outputs:
        """Raises ``InferenceUnavailable``."""
        state, connection = await self.supervisor.healed(self.stable)
        try:
            return await self._attempt(state, connection, call)
        except (TimeoutError, grpc.RpcError) as error:
            raise InferenceUnavailable(
                f"the stable version of {self.model} lost a request", model=self.model
            ) from error

    async def _attempt(self, state: Model, connection: Connection, call: Call) -> Outputs:
        state.running += 1

        def ended() -> None:
            state.running -= 1

        return await asyncio.wait_for(self.transport.attempt(connection, call, ended), self.patience.answer_s)

    def _hit(self, rail: Rail, detail: str) -> RailHit:
        return RailHit(Hit(rail, detail, dict(self.evidence)))


def unlike(mine: ModelContract, theirs: ModelContract) -> str:
    """What a version takes or gives that the stable one does not, by name; empty if nothing. Rows of a batch and instances are its
    own."""
    if bool(mine.max_batch) != bool(theirs.max_batch):
        return "only one of them has a batch dimension"
    for side, ours, stables in (("input", mine.inputs, theirs.inputs), ("output", mine.outputs, theirs.outputs)):
        for name in sorted(ours.keys() | stables.keys()):
            if ours.get(name) != stables.get(name):
                return f"{side} {name} is {_shown(ours.get(name))}, the stable version's {_shown(stables.get(name))}"
    return ""


def _shown(spec: TensorSpec | None) -> str:
    return f"{spec.datatype} {list(spec.dims)}" if spec else "missing"


async def _timed(requests: Sequence[golden.Request], ask: Callable[[Call], Awaitable[Outputs]]) -> float:
    began = time.monotonic()
    for call, _ in requests:
        await ask(call)
    return time.monotonic() - began
