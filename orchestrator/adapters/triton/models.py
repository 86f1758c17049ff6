"""The ``ModelServer`` port on Triton: which versions are loaded, which of them answers for whom, and what came of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

import psutil
import structlog

from orchestrator.adapters.triton import integrity
from orchestrator.adapters.triton.client import TritonInference
from orchestrator.adapters.triton.examination import Evidence, Examination, Patience
from orchestrator.adapters.triton.hosts import EmbeddedHost, Host
from orchestrator.adapters.triton.model import Phase
from orchestrator.adapters.triton.repository import Repository, further, split
from orchestrator.adapters.triton.shadow import Shadow
from orchestrator.adapters.triton.supervisor import Supervisor
from orchestrator.adapters.triton.transport import Transport
from orchestrator.core.rollout import Budgets, Hit, Measured, Rail, Rollout, Stage
from orchestrator.errors import FilesRefused, InferenceUnavailable, NotFound, NotManaged, SetupError
from orchestrator.pipeline.control_ports import Condition
from orchestrator.pipeline.model_ports import VersionInfo

log = structlog.get_logger(__name__)


class TritonModels:
    """Implements ``orchestrator.pipeline.model_ports.ModelServer`` for the versions that ``inference`` asks.

    A version that a repository's config does not name is loaded as a model of its own (see ``repository.py``); in a Triton that others
    run there are none, and rollouts direct nothing.
    """

    def __init__(
        self,
        host: Host,
        supervisor: Supervisor,
        transport: Transport,
        inference: TritonInference,
        repository: Path,
        budgets: Budgets | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._embedded = host if isinstance(host, EmbeddedHost) else None
        self._repository = self._embedded.repository if self._embedded else Repository(repository)
        self._supervisor, self._transport, self._inference = supervisor, transport, inference
        self.budgets, self._patience = budgets or Budgets(), patience or Patience()
        self._candidates: frozenset[str] = frozenset()
        self._examining = asyncio.Lock()  # one at a time: they are timed
        self._examined: set[str] = set()
        self._leaving: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        inference.routes.released = self._released

    # --- what there is -----------------------------------------------------------------------------------------------

    @property
    def release(self) -> str:
        """See the port."""
        return self._supervisor.release

    @property
    def managed(self) -> bool:
        """See the port."""
        return self._embedded is not None

    def models(self) -> Sequence[str]:
        """See the port."""
        return self._repository.models()

    def default(self, model: str) -> int:
        """See the port. In a Triton that others run it is what they serve, once that is known."""
        known = self._supervisor.find(model)
        if not self.managed and known is not None and known.version is not None:
            return int(known.version.version)
        return self._repository.default(model)

    def condition(self, model: str) -> Condition:
        """See the port. A model that nobody has asked for yet is loaded when somebody does."""
        try:
            version = str(self.default(model))
        except NotFound:
            return Condition(False, "it is not exported")
        known = self._supervisor.find(self._inference.routes.stable(model))
        if known is not None and known.version is not None:
            version = known.version.version
        if not self._supervisor.serving:
            return Condition(False, "Triton is away", version)
        if known is not None and known.phase in (Phase.FAILED, Phase.HEALING):
            return Condition(False, str(known.fault) if known.fault else f"it is {known.phase.value}", version)
        return Condition(True, "", version)

    async def versions(self, model: str) -> Sequence[VersionInfo]:
        """See the port."""
        held = self._repository.versions(model)
        return await asyncio.to_thread(lambda: [self._info(model, version) for version in held])

    def _info(self, model: str, version: int) -> VersionInfo:
        folder = self._repository.folder(model, version)
        stamp = tuple((path.name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for path, stat in _files(folder))
        try:
            manifest = self._repository.manifest(model, version) or {}
        except FilesRefused:
            manifest = {}
        measured = manifest.get("parity") or {}
        state = self._supervisor.find(self._name(model, version))
        return VersionInfo(
            model,
            version,
            digest=str(manifest.get("digest", "")),
            precision=str(manifest.get("precision", "fp32")),
            target=str(manifest.get("target", "onnx")),
            licence=str(manifest.get("licence", "")),
            created=str(manifest.get("created", "")),
            parity={
                each["name"]: _over(each["max_abs_error"], each["tolerance"]) for each in measured.get("outputs", ())
            },
            nbytes=sum(stat.st_size for _, stat in _files(folder)),
            loaded=state is not None and state.phase is Phase.READY,
            defect=_defect(self._repository, model, version, stamp),
        )

    # --- what is loaded ----------------------------------------------------------------------------------------------

    async def examine(self, model: str, version: int) -> Mapping[str, float | str]:
        """See the port. Also raises ``NotManaged``."""
        self._require(model, version)
        name, stable = self._name(model, version), self._inference.routes.stable(model)
        if name == stable:
            return {}  # it serves
        async with self._examining:
            return await self._examine(model, version, name, stable)

    async def _examine(self, model: str, version: int, name: str, stable: str) -> Evidence:
        fresh = self._supervisor.find(name) is None
        self._leaving.discard(name)
        self._examined.add(name)
        self._judge_candidates()
        examination = Examination(
            self._supervisor, self._transport, self._repository, self.resident,
            self.budgets, self._patience, model, version, name, stable,
        )  # fmt: skip
        passed = False
        try:
            evidence: Evidence = await examination.run()
            passed = True
        finally:
            self._examined.discard(name)
            self._judge_candidates()
            if not passed and (fresh or not self._inference.routes.users(name)):
                await asyncio.shield(self._supervisor.drop(name, hung=True))
        return evidence

    async def hold(self, wanted: Mapping[str, Sequence[int]]) -> Mapping[tuple[str, int], Hit]:
        """See the port. A default that neither the ``wanted`` versions nor the model's rollout name is let go too. Also raises
        ``NotManaged``."""
        hits: dict[tuple[str, int], Hit] = {}
        names: dict[str, tuple[str, int]] = {}
        for model, versions in wanted.items():
            for version in versions:
                try:
                    names[self._name(model, version)] = (model, version)
                except NotFound as error:
                    hits[model, version] = Hit(Rail.FILES, str(error))
        further_names = sorted(name for name in names if split(name)[1])
        if not self.managed:
            if further_names:
                raise NotManaged(
                    f"{further_names[0]} is not loaded: this Triton's models are loaded by whoever runs it"
                )
            return hits
        for name in list(self._supervisor.state()):
            model, further_version = split(name)
            if further_version is None and (
                model not in wanted or self._inference.routes.wants(model, self.default(model))
            ):
                continue
            if name not in names and name not in self._examined:
                self._leaving.add(name)
        self._leaving -= names.keys()
        await self._let_go()
        self._supervisor.want(list(names))
        if not self._supervisor.serving:
            raise InferenceUnavailable("Triton is away; what is wanted is loaded once it is back")
        found = await asyncio.gather(*(self._load(name) for name in names), return_exceptions=True)
        for version_of, hit in zip(names.values(), found, strict=True):
            if isinstance(hit, BaseException):
                raise hit
            if hit is not None:
                hits[version_of] = hit
        return hits

    async def _load(self, name: str) -> Hit | None:
        """What is wrong with ``name``, if it cannot be loaded. Raises ``InferenceUnavailable`` while Triton is away."""
        state = self._supervisor.find(name)
        if state is not None and state.phase in (Phase.READY, Phase.HEALING):
            return None  # the supervisor sees to it
        try:
            await self._supervisor.ready([name])
        except InferenceUnavailable as error:
            if not self._supervisor.serving:
                raise
            state = self._supervisor.find(name)
            if state is not None and state.phase is Phase.LOADING:
                await self._supervisor.drop(name, hung=True)
            return Hit(Rail.FILES if isinstance(error.__cause__, FilesRefused) else Rail.LOAD, str(error))
        return None

    def _released(self) -> None:
        if self._leaving:
            task = asyncio.get_running_loop().create_task(self._let_go())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _let_go(self) -> None:
        """Unload what is wanted no more, and has nobody pinned to it."""
        for name in sorted(self._leaving):
            if name in self._leaving and not self._inference.routes.users(name):
                self._leaving.discard(name)
                await self._supervisor.drop(name)

    # --- who is answered by which ------------------------------------------------------------------------------------

    def direct(self, rollouts: Mapping[str, Rollout]) -> None:
        """See the port."""
        if not self.managed:
            return
        rollouts = {model: rollout for model, rollout in rollouts.items() if self._is_held(model)}
        routes = self._inference.routes
        routes.direct(rollouts, self.default)
        shadows: dict[str, Shadow] = {}
        candidates = set()
        for model, rollout in rollouts.items():
            if rollout.candidate is None:
                continue
            stable, name = routes.stable(model), routes.name(model, rollout.candidate.version)
            candidates.add(name)
            if rollout.candidate.stage is Stage.SHADOW:
                before = self._inference.shadows.get(stable)
                same = before if before is not None and before.candidate == name else None
                shadows[stable] = same or Shadow(self._supervisor, self._transport, name, rollout.candidate.share)
                shadows[stable].share = rollout.candidate.share
        self._inference.shadows = shadows
        self._candidates = frozenset(candidates)
        self._judge_candidates()

    def _judge_candidates(self) -> None:
        """No fault of a version on trial ends the server that the stable one is served by."""
        self._supervisor.expendable = self._candidates | self._examined

    def measured(self, model: str, version: int) -> Measured:
        """See the port."""
        name = self._known_name(model, version)
        state = self._supervisor.find(name)
        if state is None:
            return Measured()
        return state.tally.measured(self.resident(name), state.contract.instances if state.contract else 1)

    def pinned(self, model: str, version: int) -> int:
        """See the port."""
        return self._inference.routes.analyses(self._known_name(model, version))

    def resident(self, name: str) -> int:
        """Bytes of the processes of Triton's model ``name`` in memory; 0 where they are not ours to see."""
        total = 0
        for stub in self._embedded.stubs(name) if self._embedded else ():
            with suppress(psutil.Error):
                total += psutil.Process(stub.pid).memory_info().rss
        return total

    # --- small things ------------------------------------------------------------------------------------------------

    def _name(self, model: str, version: int) -> str:
        return model if version == self.default(model) else further(model, version)

    def _known_name(self, model: str, version: int) -> str:
        """``_name``, also of a model that the repository does not hold any more."""
        with suppress(NotFound):
            return self._name(model, version)
        return further(model, version)

    def _is_held(self, model: str) -> bool:
        try:
            return self.default(model) > 0
        except NotFound:
            log.warning("models.rollout_without_model", model=model)
            return False

    def _require(self, model: str, version: int) -> None:
        if version not in self._repository.versions(model):
            raise NotFound(f"the model repository holds no version {version} of {model}", model=model)
        if not self.managed:
            raise NotManaged(f"{model} cannot be examined: this Triton's models are loaded by whoever runs it")


def _files(folder: Path) -> list[tuple[Path, os.stat_result]]:
    return [(path, path.stat()) for path in sorted(folder.iterdir()) if path.is_file()]


def _over(error: float, tolerance: float) -> float:
    return error / tolerance if tolerance else (0.0 if not error else float("inf"))


@lru_cache(maxsize=256)
def _defect(repository: Repository, model: str, version: int, stamp: tuple[object, ...]) -> str:
    """What is wrong with files that look as ``stamp``, so that a list does not read all weights each time."""
    try:
        integrity.check(repository, model, version)
    except (FilesRefused, SetupError) as error:
        return str(error)
    return ""
