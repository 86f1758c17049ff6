"""What one round measures. A round visits every contender; the next one begins with another of them."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.benchmarks import bare_server, footage, service, streams
from tests.benchmarks.contenders import Contenders, script
from tests.benchmarks.figures import OVER_LIMIT, Figures, Run, at_least, at_most, share_of_what_was_left
from tests.benchmarks.memory import Peak

T = TypeVar("T")

FIRST_REPEATS = 5
LONG = 5  # minutes of a clip that is long enough for rates
STREAMS = 8  # side by side
UPLOADED = 512 << 20
# Where a peer has two forms, its goal holds for the better one.
PEERS = {
    "naive": ("naive script", at_least(1.9)),
    "threaded": ("threaded script", None),
    "litserve_client raw": ("LitServe", at_least(1.4)),
    "litserve_client json": ("LitServe as documented", None),
    "pytriton_client": ("PyTriton", None),
    "ray_data tuned": ("Ray Data", at_least(3.5)),
    "ray_data documented": ("Ray Data as documented", None),
}
SERVING = ("litserve_client raw", "pytriton_client")


@dataclass(frozen=True, slots=True)
class Case:
    """A clip and a sampling (0: every frame)."""

    label: str
    clip: Path
    frames: int
    fps: int

    @property
    def name(self) -> str:
        """As the table calls it."""
        return f"{self.label}, {f'{self.fps} fps' if self.fps else 'every frame'}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure. ``seconds``: least length of a run; ``sizes``: 720p, 1080p."""

    goals: frozenset[str]
    seconds: float
    sizes: tuple[str, ...]
    rates: tuple[int, ...] = (0, 5, 2)

    def wants(self, *goals: str) -> bool:
        """Whether any of ``goals`` is to be measured."""
        return bool(self.goals.intersection(goals))


class Bench:
    """The prepared clips, and a round over them."""

    def __init__(self, plan: Plan, contenders: Contenders, say: Callable[[str], None]) -> None:
        self._plan, self._contenders, self._say = plan, contenders, say
        self._folder = contenders.folder
        self.cases: list[Case] = []
        self._log: tuple[str, service.Service] | None = (
            None  # an analysis of many segments, and a bare server of its messages
        )
        self._sinks: dict[str, service.Service] = {}

    def prepare(self) -> None:
        """Build the clips, long enough for runs of the length asked for on this machine."""
        footage.loop(footage.base(footage.STREET_720), 1, self._folder / "warm.mp4")
        if self._plan.wants("P1", "P2"):
            sizes: tuple[str, ...] = self._plan.sizes
            rates: tuple[int, ...] = self._plan.rates
        else:
            sizes, rates = (("720p",), (0,)) if self._plan.wants("P3", "P4") else ((), ())
        for size in sizes:
            source = footage.base(footage.STREET_1080 if size == "1080p" else footage.STREET_720)
            base = footage.loop(source, 1, self._folder / f"{size}-base.mp4")
            for fps in rates:
                rows = len(footage.wanted(base, fps))
                cpu = script("bare", "decode", source, fps)["cpu"] + script("bare", "infer", source, rows)["cpu"]
                # The short clip's estimate holds the costs of starting, which weigh more where less is inferred.
                seconds = self._plan.seconds * (2.5 if fps else 1.0)
                times = footage.loops_for(seconds, cpu / service.cores())
                clip = self._folder / f"{size}-{fps}.mp4"
                self.cases.append(Case(size, clip, footage.loop(source, times, clip), fps))
        if self._plan.wants("P5", "P6", "P7", "P9"):
            light = footage.base(footage.LIGHT)
            for minutes in (1, LONG, 60):
                footage.loop(light, -(-minutes * 60 * footage.RATE // (7 * footage.GOP)), self._minutes(minutes))
        if self._plan.wants("P10"):
            street = footage.base(footage.STREET_720)
            cpu = script("bare", "decode", street, 2)["cpu"]
            footage.loop(street, footage.loops_for(self._plan.seconds, cpu), self._folder / "sparse.mp4")
        if self._plan.wants("P7", "P13"):
            footage.loop(footage.busy_base(self._folder), self._loops(602), self._folder / "busy.mp4")
        if self._plan.wants("P13"):
            footage.loop(footage.base(footage.CALM), self._loops(264), self._folder / "calm.mp4")

    async def round(self, number: int, figures: Figures) -> None:
        """Measure everything once."""
        for case in self.cases:
            await self._throughput(case, number, figures)
        if self._plan.wants("P5"):
            await self._first_segment(number, figures)
        if self._plan.wants("P6"):
            await self._memory(number, figures)
        if self._plan.wants("P7"):
            await self._results(number, figures)
        if self._plan.wants("P8"):
            await self._uploads(number, figures)
        if self._plan.wants("P9"):
            await self._side_by_side(figures)
        if self._plan.wants("P10"):
            self._sparse(number, figures)
        if self._plan.wants("P13"):
            await self._realtime(figures)

    async def _throughput(self, case: Case, number: int, figures: Figures) -> None:
        contenders, plan = self._contenders, self._plan
        clip, frames, fps = case.clip, case.frames, case.fps
        peers = plan.wants("P3") and case.label == "720p" and not fps
        inside = plan.wants("P4") and case.label == "720p" and not fps
        actors: dict[str, Callable[[], Awaitable[Run]]] = {"ours": lambda: contenders.ours(clip, frames, fps)}
        if plan.wants("P1", "P2"):
            actors["limit"] = lambda: contenders.limit(clip, frames, fps)
        if inside:
            actors["plain"] = lambda: contenders.ours(clip, frames, fps, triton=False)
        if peers:
            actors |= {peer: (lambda peer=peer: contenders.peer(peer, clip, frames)) for peer in PEERS}  # type: ignore[misc]
        runs: dict[str, Run] = {}
        for name, actor in turned(actors, number).items():
            run = runs[name] = await actor()
            self._say(
                f"{case.name}: {name} {run.rate:.1f} frames/s, {run.cpu_ms:.2f} CPU ms a frame, {run.wall:.1f} s, "
                f"others {contenders.others[-1]:.2f} cores"
            )
        throughput_figures(case.name, runs, figures, plan.goals)

    async def _first_segment(self, number: int, figures: Figures) -> None:
        repeats = FIRST_REPEATS if self._plan.seconds >= 10 else 2
        seconds: dict[int, list[float]] = {1: [], 60: []}
        bare = script("bare", "first", self._minutes(1), 2, 2.0, repeats)["wall"]
        for repeat in range(2 * repeats):
            minutes = 1 if (repeat + number) % 2 else 60
            seconds[minutes].append(await self._contenders.first_segment(self._minutes(minutes)))
        short, long = statistics.median(seconds[1]), statistics.median(seconds[60])
        self._say(f"first segment: bare {bare * 1e3:.0f} ms, 1 min {short * 1e3:.0f} ms, 60 min {long * 1e3:.0f} ms")
        case = "720p, 2 s, 2 fps"
        figures.add(
            "P5", "first segment beyond its bare cost, 1 min clip", case, (short - bare) * 1e3, at_most(100), "ms"
        )
        figures.add("P5", "first segment, 60 min / 1 min clip", case, long / short, at_most(1.1))
        figures.add("P5", "bare cost of the first segment", case, bare * 1e3, unit="ms")

    async def _memory(self, number: int, figures: Figures) -> None:
        server = await self._contenders.service("labels2")
        peaks: dict[int, Peak] = {}
        for minutes in (1, 60) if number % 2 else (60, 1):
            with Peak(server.pid) as peaks[minutes]:
                await server.analyze(self._minutes(minutes), "labels2")
        self._say(f"peak memory: {peaks[1].whole >> 20} MiB for a minute, {peaks[60].whole >> 20} for an hour")
        case = "720p, 2 fps"
        figures.add("P6", "peak memory, 60 min / 1 min clip", case, peaks[60].whole / peaks[1].whole, at_most(1.05))
        worker = max(peak.worker for peak in peaks.values()) / 1e6
        figures.add("P6", "peak of a decode worker", case, worker, at_most(350), "MB")
        figures.add(
            "P6", "peak of all processes, shared pages counted for each", case, peaks[60].whole / 1e6, unit="MB"
        )

    async def _results(self, number: int, figures: Figures) -> None:
        """An ended analysis of many segments, read by the same client from our server and from a bare one."""
        contenders = self._contenders
        server = await contenders.service("shreds")
        if self._log is None:
            analysed = await server.analyze(self._minutes(60), "shreds")
            _, messages = await streams.watch(server.address, server.pid, analysed.id)
            self._log = analysed.id, contenders.bare_server("bare", bare_server.pack(messages))
        analysis, bare = self._log
        runs: dict[str, streams.Streamed] = {}
        for name, each in (("bare", bare), ("ours", server)) if number % 2 else (("ours", server), ("bare", bare)):
            runs[name], _ = await streams.watch(each.address, each.pid, analysis)
        job = await contenders.analyze(self._folder / "busy.mp4", "default")
        share = job.messages * runs["ours"].cpu / runs["ours"].units / job.run.cpu
        self._say(
            f"results: {runs['ours'].rate:.0f} messages/s, bare {runs['bare'].rate:.0f}; {share:.2%} of a job's CPU"
        )
        case = f"{runs['ours'].units} messages"
        figures.add("P7", "messages/s over bare grpc.aio", case, runs["ours"].rate / runs["bare"].rate, at_least(0.9))
        figures.add("P7", "CPU of streaming, of an analysis' CPU", "default profile", share * 100, at_most(1), "%")
        figures.add("P7", "messages/s of bare grpc.aio", case, runs["bare"].rate, unit="messages/s")

    async def _uploads(self, number: int, figures: Figures) -> None:
        server = await self._contenders.service("labels2")
        if not self._sinks:
            self._sinks = {
                "bare": self._contenders.bare_server("sink"),
                "written": self._contenders.bare_server("written", upload=self._folder / "upload"),
            }
        runs: dict[str, streams.Streamed] = {}
        for name, each in turned({"ours": server, **self._sinks}, number).items():
            runs[name] = await streams.upload(each.address, each.pid, UPLOADED, create=name == "ours")
        ours, bare, written = runs["ours"], runs["bare"], runs["written"]
        self._say(
            f"uploads: {ours.rate / 1e6:.0f} MB/s, bare {bare.rate / 1e6:.0f}, bare to a file {written.rate / 1e6:.0f}; "
            f"{ours.cpu / ours.units * 1e9:.2f} CPU s/GB"
        )
        figures.add("P8", "bytes/s over a bare client stream", "1 MB chunks", ours.rate / bare.rate, at_least(0.9))
        figures.add("P8", "CPU of client and server", "1 MB chunks", ours.cpu / ours.units * 1e9, at_most(1), "s/GB")
        figures.add("P8", "CPU of a bare client stream", "1 MB chunks", bare.cpu / bare.units * 1e9, unit="s/GB")
        figures.add("P8", "bytes/s over a bare one that is written to a file", "1 MB chunks", ours.rate / written.rate)
        figures.add(
            "P8", "CPU of a bare one written to a file", "1 MB chunks", written.cpu / written.units * 1e9, unit="s/GB"
        )

    async def _side_by_side(self, figures: Figures) -> None:
        wide = await self._contenders.service("labels2", streams=STREAMS)
        clip = self._minutes(LONG)
        alone = (await wide.analyze(clip, "labels2")).run
        began = time.perf_counter()

        async def one() -> tuple[Run, float]:
            run = (await wide.analyze(clip, "labels2", calm=False)).run
            return run, time.perf_counter() - began

        ended = await asyncio.gather(*(one() for _ in range(STREAMS)))
        walls = [wall for _, wall in ended]
        rate = sum(run.frames for run, _ in ended) / max(walls)
        self._say(
            f"{STREAMS} streams: {rate:.1f} frames/s, one {alone.rate:.1f}; ended after {min(walls):.1f} to {max(walls):.1f} s"
        )
        case = f"{STREAMS} streams, 720p, 2 fps"
        figures.add("P9", "last over first to end", case, max(walls) / min(walls), at_most(1.1))
        figures.add("P9", "frames/s over one stream", case, rate / alone.rate, at_least(0.95))
        server = await self._contenders.service("labels2")
        short = (await server.analyze(self._minutes(1), "labels2")).run.wall
        long = asyncio.create_task(server.first_segment(self._minutes(60), "labels2", stay=60.0))
        await asyncio.sleep(3.0)
        behind = (await server.analyze(self._minutes(1), "labels2", calm=False)).run.wall
        long.cancel()
        await asyncio.gather(long, return_exceptions=True)
        self._say(f"1 min clip: {short:.1f} s alone, {behind:.1f} s behind an hour's")
        figures.add(
            "P9", "1 min clip behind a 60 min one, over its fair share", "720p, 2 fps", behind / (2 * short), at_most(2)
        )

    def _sparse(self, number: int, figures: Figures) -> None:
        clip = self._folder / "sparse.mp4"
        runs: dict[str, float] = {}
        for what in ("all", "2", "keyframes") if number % 2 else ("keyframes", "2", "all"):
            done = script("bare", "decode", clip, 2) if what == "all" else script("sparse", clip, what)
            runs[what] = done["cpu"]
            self._say(f"decoding alone, {what}: {done['cpu']:.2f} CPU s")
        case = f"720p, GOP {footage.GOP}"
        figures.add("P10", "CPU at 2 fps over decoding all", case, runs["2"] / runs["all"], at_most(0.75))
        figures.add("P10", "CPU of keyframes over decoding all", case, runs["keyframes"] / runs["all"], at_most(0.15))

    async def _realtime(self, figures: Figures) -> None:
        for name, about in (("busy", "720p, cuts every 2 s"), ("calm", "720p, no cut")):
            analysed = await self._contenders.analyze(self._folder / f"{name}.mp4", "default")
            media = analysed.media_seconds
            self._say(f"default profile, {about}: {analysed.run.wall:.1f} s for {media:.1f} s of media")
            figures.add("P13", "realtime factor, default profile", about, analysed.run.wall / media, at_most(0.2))
            for kind, seconds in sorted(analysed.kinds.items(), key=lambda item: -item[1]):
                figures.add("P13", f"CPU: {kind}", about, seconds / media, unit="CPU s/media s")

    def _minutes(self, minutes: int) -> Path:
        return self._folder / f"{minutes}min.mp4"

    def _loops(self, frames: int) -> int:
        """Loops for six times the length of a run, as media (a minute, by default)."""
        return -(-int(6 * self._plan.seconds * footage.RATE) // frames)


def throughput_figures(case: str, runs: dict[str, Run], figures: Figures, goals: frozenset[str]) -> None:
    """Add one round's ratios. ``runs`` holds ``ours`` and, where they were measured, ``limit``, ``plain`` and peers."""
    ours = runs["ours"]
    limit = runs.get("limit")
    measured = [(title, runs[name]) for name, (title, _) in PEERS.items() if name in runs]
    if limit and "P1" in goals:
        every = case.endswith("every frame")
        figures.add("P1", OVER_LIMIT, case, ours.rate / limit.rate, at_least(0.95 if every else 1.0))
        left = share_of_what_was_left(ours, limit)
        figures.add("P1", "frames/s over the limit of the cores that others left", case, left)
        for title, run in measured:
            figures.add("P1", f"{title}: {OVER_LIMIT}", case, run.rate / limit.rate)
        figures.add("P1", "frames/s of the limit", case, limit.rate, unit="frames/s")
    if limit and "P2" in goals:
        figures.add("P2", "CPU a frame over the bare parts", case, ours.cpu_ms / limit.cpu_ms, at_most(1.05))
        for title, run in measured:
            figures.add("P2", f"{title}: CPU a frame over the bare parts", case, run.cpu_ms / limit.cpu_ms)
        figures.add("P2", "CPU of the bare parts", case, limit.cpu_ms, unit="CPU ms/frame")
    if "P3" in goals:
        for name, (title, bound) in PEERS.items():
            if name in runs:
                figures.add("P3", f"frames/s over {title}", case, ours.rate / runs[name].rate, bound)
        if all(name in runs for name in SERVING):
            best = max(runs[name].rate for name in SERVING)
            figures.add("P3", "frames/s over the best serving peer", case, ours.rate / best, at_least(1.4))
    if "plain" in runs and "P4" in goals:
        figures.add("P4", "CPU over the same without Triton", case, ours.cpu_ms / runs["plain"].cpu_ms, at_most(1.05))
        figures.add("P4", "frames/s over the same without Triton", case, ours.rate / runs["plain"].rate)


def turned(actors: Mapping[str, T], number: int) -> dict[str, T]:
    """``actors``, beginning with another one in each round."""
    names = list(actors)
    turn = number % len(names)
    return {name: actors[name] for name in names[turn:] + names[:turn]}
