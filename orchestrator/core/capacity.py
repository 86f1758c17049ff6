"""How many hosts a load needs, from what a service measured of itself. Pure.

By the utilisation law of operational analysis (Denning and Buzen, 1978): a resource that is in use for the share U of the time, while X
media seconds are analysed in a second, costs D = U / X seconds per media second, whatever the mix was. So a host whose resource is to be in
use for the share L at most, and is for I when nothing is analysed, carries (L - I) / D media seconds in a second.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from statistics import fmean, median

from orchestrator.core.statistics import Sample, Stats

USED = 0.7  # share of a resource that is planned with: above it waiting times grow fast
PEAK = 2.0  # of the busiest hour over the mean, where none was measured
PEAK_HOURS = 24  # of samples, before a peak counts as measured

_LOAD = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?:(?P<streams>streams?)|hours?(?:\s*(?:/|a|per)\s*day)?)")


@dataclass(frozen=True, slots=True)
class Load:
    """``rate``: media seconds that come in a second, in the mean. ``live``: as streams, each as long as its media; else as files, which may
    wait. ``fps``: of the media, where it is not like what was measured."""

    rate: float
    live: bool
    fps: float | None = None


def parse_load(text: str, fps: float | None = None) -> Load:
    """``12 streams`` or ``500 hours/day``. Raises ``ValueError``."""
    match = _LOAD.fullmatch(text.strip().lower())
    if match is None or not float(match["number"]):
        raise ValueError(f"a load is such as '12 streams' or '500 hours/day', got {text!r}")
    live = match["streams"] is not None
    return Load(float(match["number"]) / (1 if live else 24), live, fps)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one media second: ``seconds`` of a host's resource. ``idle``: share of the resource that is used when nothing is analysed."""

    seconds: float
    idle: float = 0.0


@dataclass(frozen=True, slots=True)
class Rates:
    """What was measured. ``costs`` by resource (``cpu``, ``gpu``, ``nvdec``). ``places``: analyses that a host has at work at once;
    ``factor`` and ``slow_factor``: processing seconds per media second, in the mean and at most for 95 %. ``peak``: busiest hour over the
    mean, ``None`` where too little was seen. ``fps``: frames per media second. ``decoding``: share of the work that grows with frames.
    """

    media_seconds: float
    costs: Mapping[str, Cost]
    places: int
    factor: float
    slow_factor: float
    servers: int
    gpus: int = 0  # of a host
    peak: float | None = None
    fps: float = 0.0
    decoding: float = 0.0

    def scaled(self, by: float) -> Rates:
        """The rates of work that takes ``by`` times as much."""
        costs = {name: replace(cost, seconds=cost.seconds * by) for name, cost in self.costs.items()}
        return replace(self, costs=costs, factor=self.factor * by, slow_factor=self.slow_factor * by)

    def at(self, fps: float | None) -> Rates:
        """The rates of media with so many frames a second: what decodes takes more or less, the rest as much. NVDEC only decodes."""
        if fps is None or not self.fps:
            return self
        more = fps / self.fps
        changed = self.scaled(1 + self.decoding * (more - 1))
        if (nvdec := self.costs.get("nvdec")) is None:
            return changed
        return replace(changed, costs={**changed.costs, "nvdec": replace(nvdec, seconds=nvdec.seconds * more)})


@dataclass(frozen=True, slots=True)
class Need:
    """Of one resource: media seconds a second that a host ``carries``, and how many ``hosts`` that makes."""

    resource: str
    carries: float
    hosts: int


@dataclass(frozen=True, slots=True)
class Plan:
    """``needs``, the scarcest resource first, for a ``rate`` of media seconds a second at the peak. ``keeps_up``: a live stream does not
    fall behind on a host so loaded."""

    rate: float
    peak: float
    needs: tuple[Need, ...]
    gpus: int
    keeps_up: bool

    @property
    def hosts(self) -> int:
        """As many as the scarcest resource needs."""
        return max(need.hosts for need in self.needs)


def work(stages: Mapping[str, float]) -> dict[str, float]:
    """``stages`` without what waits for a client's bytes, and without the models' parts of those that are there."""
    return {name: seconds for name, seconds in stages.items() if name != "fetch" and not name.startswith("model/")}


def span(samples: Sequence[Sample]) -> float:
    """Hours that ``samples`` stand for, from the oldest to the newest."""
    if not samples:
        return 0.0
    times = [sample.time for sample in samples]
    return ((max(times) - min(times)).total_seconds() + max(map(_gap, _by_server(samples).values()))) / 3600


def rates(stats: Stats, samples: Sequence[Sample]) -> Rates:
    """What ``samples`` and ``stats`` of the same time say. Raises ``ValueError`` where nothing was analysed, or no server told its CPU."""
    if not stats.media_seconds or not stats.realtime_factor.count:
        raise ValueError("nothing was analysed in that time, so there is no rate to plan with")
    by_server = _by_server(samples)
    costs = {
        name: cost
        for name, prefix in (("cpu", "cpu_ratio"), ("gpu", "gpu_ratio/"), ("nvdec", "nvdec_ratio/"))
        if (cost := _cost(by_server.values(), prefix, stats.media_seconds)) is not None
    }
    if "cpu" not in costs or not costs["cpu"].seconds:
        raise ValueError(
            "too few samples of the CPU at work were taken in that time; there is one every history_seconds"
        )
    worked = sum(work(stats.stages).values())
    frames = sum(stats.frames.get(name, 0) for name in ("decoded", "corrupt", "skipped"))
    return Rates(
        media_seconds=stats.media_seconds,
        costs=costs,
        places=max((int(sample.values.get("places", 0)) for sample in samples), default=0),
        factor=stats.realtime_factor.mean,
        slow_factor=stats.realtime_factor.p95,
        servers=len(by_server),
        gpus=max((sum(name.startswith("gpu_ratio/") for name in sample.values) for sample in samples), default=0),
        peak=_peak(samples),
        fps=frames / stats.media_seconds,
        decoding=stats.stages.get("decode", 0.0) / worked if worked else 0.0,
    )


def plan(load: Load, measured: Rates, *, used: float = USED, peak: float | None = None) -> Plan:
    """What ``load`` needs, with every resource in use for the share ``used`` at most. ``peak``: instead of the measured one; streams have
    none, for all of them count."""
    measured = measured.at(load.fps)
    times = 1.0 if load.live else peak or measured.peak or PEAK
    rate = load.rate * times
    carried = {name: max(0.0, used - cost.idle) / cost.seconds for name, cost in measured.costs.items() if cost.seconds}
    if measured.places:
        # A stream has its place for as long as it lasts; files may fill places no further than the rest
        place = max(1.0, measured.factor) if load.live else measured.factor / used
        carried["places"] = measured.places / place
    needs = [Need(name, carries, _hosts(rate, carries)) for name, carries in carried.items()]
    needs.sort(key=lambda need: need.carries)
    hosts = max(need.hosts for need in needs)
    return Plan(rate, times, tuple(needs), hosts * measured.gpus, measured.slow_factor <= 1)


def _hosts(rate: float, carries: float) -> int:
    if not carries:
        raise ValueError("a host is as busy as it may be with nothing to analyse: plan with a larger share")
    return max(1, math.ceil(rate / carries - 1e-9))


def days_left(points: Iterable[tuple[datetime, float]]) -> float | None:
    """In how many days a quantity that sinks will be 0, along the line that fits ``points`` best; ``None`` where it does not sink."""
    found = sorted(points)
    if len(found) < 2:
        return None
    newest = found[-1][0]
    days = [(time - newest).total_seconds() / 86400 for time, _ in found]
    values = [value for _, value in found]
    middle, mean = fmean(days), fmean(values)
    across = sum((day - middle) ** 2 for day in days)
    slope = (
        sum((day - middle) * (value - mean) for day, value in zip(days, values, strict=True)) / across if across else 0
    )
    if slope >= 0:
        return None
    return max(0.0, (mean - middle * slope) / -slope)


def _by_server(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        found[sample.server].append(sample)
    return found


def _gap(samples: Sequence[Sample]) -> float:
    """Seconds that one sample of a server stands for."""
    times = sorted(sample.time for sample in samples)
    return median((b - a).total_seconds() for a, b in pairwise(times)) if len(times) > 1 else 0.0


def _cost(servers: Iterable[Sequence[Sample]], prefix: str, media_seconds: float) -> Cost | None:
    """Of a media second, above what is used while nothing runs; of several GPUs of a host the mean."""
    busy, idle = 0.0, []
    told = False
    for samples in servers:
        known = [(_share(each, prefix), each.values.get("running", 0.0)) for each in samples]
        shares = [(share, running) for share, running in known if share is not None]
        if not shares or not _gap(samples):
            continue
        told = True
        resting = [share for share, running in shares if not running]
        rest = fmean(resting) if resting else 0.0
        idle.append(rest)
        busy += _gap(samples) * sum(max(0.0, share - rest) for share, running in shares if running)
    return Cost(busy / media_seconds, fmean(idle)) if told else None


def _share(sample: Sample, prefix: str) -> float | None:
    found = [value for name, value in sample.values.items() if name.startswith(prefix)]
    return fmean(found) if found else None


def _peak(samples: Sequence[Sample]) -> float | None:
    """The busiest hour over the mean hour, by what ran."""
    hours: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for sample in samples:
        hours[int(sample.time.timestamp() // 3600)][sample.server].append(sample.values.get("running", 0.0))
    if len(hours) < PEAK_HOURS:
        return None
    loads = [sum(map(fmean, servers.values())) for servers in hours.values()]
    return max(loads) / fmean(loads) if any(loads) else None
