"""Clips through the real pipeline and the real Triton, with one version of a model at a time; and their pictures."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.adapters.decoders.process import ProcessDecoder
from orchestrator.adapters.frames.arena import Arena
from orchestrator.adapters.sources.path import PathSource
from orchestrator.adapters.triton.labels import Labels
from orchestrator.adapters.triton.pinned_repository import held, pin
from orchestrator.analyzers.registry import select
from orchestrator.api.client import AnalysisOptions, ClientError, ReelsiftClient, connect
from orchestrator.cli import cpu
from orchestrator.cli.compare_answers import answer_of
from orchestrator.cli.cpu import Cpu
from orchestrator.cli.inside import inside
from orchestrator.comparing.answers import Answer
from orchestrator.core.profiles import Profile
from orchestrator.core.sampling import Sampling
from orchestrator.errors import AnalysisCancelled, InferenceUnavailable, InvalidRequest
from orchestrator.pipeline.stills import Stills, stills
from orchestrator.pipeline.telemetry import Telemetry
from orchestrator.ports import Inference
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from orchestrator.app import InferenceOf

PROFILE = "compare"
SECONDS = (
    1  # of a segment where no shots are looked for: an answer speaks of a few pictures then, and an example shows one
)
STILL_WIDTH, STILL_HEIGHT = 640, 480
STILLS_BYTES = 32 << 20

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a model, by its manifest; ``facts`` that it does not tell are left out."""

    model: str
    number: int
    digest: str
    facts: Mapping[str, str]

    @classmethod
    def read(cls, repository: Path, model: str, number: int) -> Version:
        """The version as it is described; without a manifest it has no digest. Raises ``NotFound``, and ``InferenceUnavailable`` for a
        manifest that cannot be read."""
        folder = held(repository, model, number)
        try:
            told = json.loads((folder / "manifest.json").read_bytes())
        except FileNotFoundError:
            told = {}
        except ValueError as error:
            raise InferenceUnavailable(f"the manifest of {model} version {number} cannot be read") from error
        names = ("precision", "target", "licence", "created")
        facts = {name: str(told[name]) for name in names if told.get(name)}
        return cls(model, number, str(told.get("digest", "")), facts)

    @property
    def line(self) -> str:
        """Its facts, as far as they are known."""
        told = [self.facts.get(name, "") for name in ("precision", "target", "licence")]
        made = self.facts.get("created", "")[:10]
        return " · ".join(filter(None, [*told, f"made {made}" if made else ""]))


@dataclass(frozen=True, slots=True)
class Run:
    """What a version answered, clip by clip, and what that took: CPU seconds, once all was warm, for so many of media."""

    answers: tuple[Answer, ...]
    used: Cpu
    media_s: float

    @property
    def cpu_per_second(self) -> Cpu:
        """CPU seconds per second of media."""
        return Cpu(self.used.model / self.media_s, self.used.everything / self.media_s)


@dataclass(frozen=True, slots=True)
class Plan:
    """Which clips are shown (by name) to which analyzers of a profile: those that ask the model."""

    model: str
    profile: Profile
    clips: Mapping[str, Path]
    repository: Path
    sampled: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, model: str, profile: Profile, clips: Mapping[str, Path], repository: Path) -> Plan:
        """Raises ``InvalidRequest`` where no analyzer of ``profile`` asks ``model``."""
        names = Labels(repository)
        asking = tuple(name for name in profile.analyzers if model in select(profile.only((name,)), names).models)
        if not asking:
            raise InvalidRequest(
                f"no analyzer of the profile {profile.name!r} asks {model}; name another with --profile"
            )
        return cls(model, profile.only(asking), clips, repository)

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that is asked, besides the one in question too."""
        return select(self.profile, Labels(self.repository)).models

    @property
    def looks(self) -> Sampling | None:
        """Which frames the object detector is shown, where it takes part."""
        analyzers = select(self.profile, Labels(self.repository)).analyzers
        found = next((each.tap.sampling for each in analyzers if each.name == "objects"), None)
        return None if found is None or found.keyframes else found

    def shown(self, sampled: Mapping[str, tuple[int, ...]]) -> Plan:
        """With the frames of each clip that the object detector is shown."""
        return replace(self, sampled=sampled)

    def write(self, folder: Path) -> Path:
        """Write the profile to be run; returns the folder of profiles."""
        cuts = "shots" in self.profile.analyzers
        lines = [f"max_segment = {self.profile.max_segment_ns / 1e9 if cuts else SECONDS}"]
        for name, options in self.profile.analyzers.items():
            lines += [f"[analyzers.{json.dumps(name)}]"]
            lines += [f"{json.dumps(key)} = {json.dumps(value)}" for key, value in options.items()]
        folder.mkdir()
        (folder / f"{PROFILE}.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return folder


async def run(plan: Plan, version: int, say: Say) -> Run:
    """Show every clip to ``version``, in a service and a Triton of its own.

    Raises ``NotFound`` for a version that there is not, ``InferenceUnavailable`` for one that does not load or stops answering, and
    ``ClientError`` for a clip that cannot be analysed.
    """
    answers: list[Answer] = []
    media_ns = 0
    with tempfile.TemporaryDirectory(prefix="reelsift-compare-") as name:
        folder = Path(name)
        given = {
            "model_repository": pin(plan.repository, plan.model, version, folder / "models"),
            "profile_dir": plan.write(folder / "profiles"),
            "triton": "",
        }
        roots = {clip.parent for clip in plan.clips.values()}
        async with inside(given, roots, _loaded(plan.models)) as address, connect(address) as client:
            await _warm_up(client, next(iter(plan.clips.values())))
            before = cpu.used(plan.model)
            for called, clip in plan.clips.items():
                say(f"version {version}: {called}")
                options = AnalysisOptions(profile=PROFILE, ignore_known=True)
                responses = [response async for response in client.analyze_path(str(clip), options)]
                finished = responses[-1].finished
                for analyzer, reason in finished.failed_analyzers.items():
                    raise InferenceUnavailable(f"version {version} failed {analyzer} in {called}: {reason}")
                answers.append(answer_of(called, responses, plan.sampled.get(called, ())))
                media_ns += finished.media_ns
            used = cpu.used(plan.model) - before
    return Run(tuple(answers), used, media_ns / 1e9)


async def _warm_up(client: ReelsiftClient, clip: Path) -> None:
    """Analyse the beginning of ``clip``: what happens once only (libraries, memory pools) is not what is compared either."""
    try:
        async for response in client.analyze_path(str(clip), AnalysisOptions(profile=PROFILE, ignore_known=True)):
            if response.HasField("segment"):
                await client.cancel(response.analysis_id)
    except ClientError as error:
        if error.reason != AnalysisCancelled.reason:
            raise


def _loaded(models: Sequence[str]) -> InferenceOf:
    """The service's own inference, its models loaded before the first clip: loading is not what is compared."""
    from orchestrator.app import running_inference

    @asynccontextmanager
    async def inference_of(settings: Settings, arena: Arena, telemetry: Telemetry) -> AsyncIterator[Inference]:
        async with running_inference(settings, arena, telemetry) as inference:
            await inference.ready(models)
            yield inference

    return inference_of


async def looked_up(clips: Mapping[str, Path], wanted: Mapping[str, Collection[int]]) -> dict[str, Stills]:
    """Frames of clips: those ``wanted``, by name."""
    found: dict[str, Stills] = {}
    with closing(Arena(STILLS_BYTES)) as arena:
        decoder = ProcessDecoder(arena)
        try:
            for name, frames in wanted.items():
                with PathSource(clips[name], [clips[name].parent]) as source:
                    found[name] = await stills(decoder, source, frames, STILL_WIDTH, STILL_HEIGHT)
        finally:
            await decoder.close()
    return found


def named(clips: Iterable[Path]) -> dict[str, Path]:
    """Clips by file name; where that is not enough by as much of the path as tells them apart. Each is there once, its path resolved."""
    found: dict[str, Path] = {}
    for clip in dict.fromkeys(clip.resolve() for clip in clips):
        parts = clip.parts
        name = next(name for length in range(1, len(parts) + 1) if (name := "/".join(parts[-length:])) not in found)
        found[name] = clip
    return found
