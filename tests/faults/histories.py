"""R5: histories of calls, some of them at once, to a store and to a model of it (Hypothesis): nobody can tell them apart.

Calls made at once must look as if they had come in some order: linearizable. On PostgreSQL they go through two stores,
as those of two processes would.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test
from sqlalchemy import delete

from orchestrator.adapters.stores.schema import analyses
from orchestrator.adapters.stores.sql import SqlAnalysisStore, open_store
from orchestrator.core.jobs import AnalysisState, Lease, UploadState
from tests.support import store_model as ops
from tests.support.folders import light_folder
from tests.support.postgres import running_postgres
from tests.support.store_model import Model, Op, Plan
from tests.support.store_values import spec

DATABASES = ("sqlite", "postgres")
STEPS = 25
NAMES = ("a", "b", "c", "d")


def _lease(model: Model, name: str, stale: int) -> Lease:
    known = model.analyses.get(name)
    return Lease(name, known.owner, known.token - stale) if known else Lease(name, "", 1)


def _leased(make: Callable[[Model, Lease], Op]) -> st.SearchStrategy[Plan]:
    """An op on the lease in force of some analysis; now and then on the one before."""

    def plan(name: str, stale: int) -> Plan:
        return lambda model: make(model, _lease(model, name, stale))

    return st.builds(plan, name=st.sampled_from(("a", *NAMES)), stale=st.sampled_from((0, 0, 0, 1)))


def _onward(name: str, forget: bool) -> Plan:
    """What a runner at work would do next."""

    def plan(model: Model) -> Op:
        known, lease = model.analyses.get(name), _lease(model, name, 0)
        if known is None or known.record.state is not AnalysisState.RUNNING:
            return ops.Claim(name, "x")
        return _commit(model, lease, 0, forget, "") if known.log else ops.Begin(lease)

    return plan


def _commit(model: Model, lease: Lease, off: int, forget: bool, mark: str) -> Op:
    known = model.analyses.get(lease.analysis_id)
    return ops.Commit(lease, max(0, (known.record.segments if known else 0) + off), forget, mark)


def _commits(off: int, forget: bool, mark: str) -> st.SearchStrategy[Plan]:
    return _leased(lambda model, lease: _commit(model, lease, off, forget, mark))


def _fixed(kind: Callable[..., Op], *arguments: st.SearchStrategy[object]) -> st.SearchStrategy[Plan]:
    return st.builds(lambda *values: lambda _: kind(*values), *arguments)


names = st.sampled_from(("a", *NAMES))
onward = st.builds(_onward, names, st.booleans())
specs = st.builds(
    lambda request, priority: spec(request, priority=priority), st.sampled_from(("", "r", "s")), st.integers(0, 1)
)
uploads = st.builds(UploadState, st.integers(0, 3), st.booleans())
ends = st.sampled_from([state for state in AnalysisState if state.ended])
creates = _fixed(ops.Create, names, specs)
claims = _fixed(ops.Claim, names, st.sampled_from(("x", "y")))
begins = _leased(lambda _, lease: ops.Begin(lease))
commits = st.tuples(st.sampled_from((0, 0, 0, -1, 1)), st.booleans(), st.sampled_from(("", "!"))).flatmap(
    lambda drawn: _commits(*drawn)
)
plans: st.SearchStrategy[Plan] = st.one_of(
    *(onward, onward, onward, onward, creates, claims, begins, commits, commits),
    ends.flatmap(lambda state: _leased(lambda _, lease: ops.End(lease, state))),
    st.tuples(st.sampled_from(("INTERRUPTED", "DRAIN")), st.booleans()).flatmap(
        lambda drawn: _leased(lambda _, lease: ops.Requeue(lease, *drawn))
    ),
    _leased(lambda _, lease: ops.Beat(lease)),
    _fixed(ops.Cancel, names),
    _fixed(ops.Delete, names),
    _fixed(ops.SetUpload, names, uploads),
    _fixed(ops.Read, names, st.integers(0, 4)),
    _fixed(ops.Queue),
    _fixed(ops.Listing),
)


def _rivals(name: str, contest: str) -> list[Plan]:
    """Calls that get into each other's way."""

    def leased(make: Callable[[Lease], Op]) -> Plan:
        return lambda model: make(_lease(model, name, 0))

    commit: Plan = lambda model: _commit(model, _lease(model, name, 0), 0, True, "")
    requeue, end = (
        leased(lambda lease: ops.Requeue(lease, "DRAIN", False)),
        leased(lambda lease: ops.End(lease, AnalysisState.FAILED)),
    )
    cancel: Plan = lambda _: ops.Cancel(name)
    contests: dict[str, list[Plan]] = {
        "claims": [lambda _, owner=owner: ops.Claim(name, owner) for owner in "xy"],  # type: ignore[misc]
        "creations": [lambda _, made=made: ops.Create(made, spec("r")) for made in (name, "d")],  # type: ignore[misc]
        "a commit of who is given up": [commit, requeue, lambda _: ops.Claim(name, "y")],
        "ends": [end, requeue, cancel],
        "a read of what goes": [lambda _: ops.Delete(name), lambda _: ops.Read(name, 0)],
        "a cancellation": [cancel, lambda _: ops.Claim(name, "y")],
    }
    return contests[contest]


CONTESTS = ("claims", "creations", "a commit of who is given up", "ends", "a read of what goes", "a cancellation")
rivals = st.builds(_rivals, names, st.sampled_from(CONTESTS))


class Histories:
    """The stores that histories are played on, on an event loop of their own."""

    def __init__(self, target: str | Path, kind: type[SqlAnalysisStore]) -> None:
        self.target, self._kind = target, kind
        self.runner = asyncio.Runner()
        self.stores: list[SqlAnalysisStore] = []
        self.played, self.calls = 0, 0
        self.anomalies: list[list[Op]] = []
        self._stack = AsyncExitStack()

    def open(self) -> None:
        """Open them, as a starting process does."""
        self.runner.run(self._open())

    async def _open(self) -> None:
        for _ in range(2 if "://" in str(self.target) else 1):
            opened = await self._stack.enter_async_context(open_store(self.target))
            self.stores.append(self._kind(opened.database))
        await self.stores[0].reclaim()

    def close(self) -> None:
        """Close them."""
        self.stores.clear()
        self.runner.run(self._stack.aclose())

    def empty(self) -> None:
        """Forget every analysis."""
        self.runner.run(self.stores[0].write(lambda sql: sql.execute(delete(analyses)) and None))

    async def perform(self, calls: list[Op], names: tuple[str, ...]) -> tuple[list[object], object]:
        """Perform them at once, through one store after the other; returns their answers, and what is seen of ``names`` then."""
        stores = self.stores
        answers = await asyncio.gather(*(call.perform(stores[at % len(stores)]) for at, call in enumerate(calls)))
        return answers, await ops.snapshot(stores[-1], names)


class Machine(RuleBasedStateMachine):
    """One history."""

    def __init__(self, histories: Histories) -> None:
        super().__init__()
        self.histories, self.model = histories, Model()
        histories.played += 1
        histories.empty()
        # What comes first in most lives, so that histories are about what comes after.
        self.check([ops.Create("a", spec("r"))])
        self.check([ops.Create("b", spec("s"))])
        self.check([plan(self.model) for plan in _rivals("a", "claims")])
        self.check([_onward("a", True)(self.model)])

    @rule(plan=plans)
    def one(self, plan: Plan) -> None:
        self.check([plan(self.model)])

    @rule(planned=st.lists(plans, min_size=2, max_size=3) | rivals)
    def at_once(self, planned: list[Plan]) -> None:
        self.check([plan(self.model) for plan in planned])

    @rule(sure=st.sampled_from((False,) * 9 + (True,)))
    def open_again(self, sure: bool) -> None:
        if sure:
            self.histories.close()
            self.histories.open()
            if not self.histories.stores[0].shared:
                ops.reclaim(self.model)

    def teardown(self) -> None:
        self.check([*(ops.Read(name, 0) for name in NAMES), ops.Queue(), ops.Listing()])

    def check(self, calls: list[Op]) -> None:
        """Some order of the calls explains every answer and everything that is seen afterwards."""
        names = tuple(sorted({call.about for call in calls if call.about}))
        self.histories.calls += len(calls)
        answers, seen = self.histories.runner.run(self.histories.perform(calls, names))
        for order in permutations(range(len(calls))):
            model = self.model.copy()
            expected = {at: calls[at].apply(model) for at in order}
            if all(expected[at] == answers[at] for at in order) and model.snapshot(names) == seen:
                self.model = model
                return
        self.histories.anomalies.append(calls)
        raise AssertionError(f"no order of {calls} explains the answers {answers!s:.2000} and then {seen!s:.4000}")


@dataclass
class Outcome:
    """What a number of histories showed."""

    database: str
    seed: int | None
    histories: int = 0
    calls: int = 0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        return asdict(self)


@contextmanager
def histories_on(target: str | Path, kind: type[SqlAnalysisStore] = SqlAnalysisStore) -> Iterator[Histories]:
    """Histories on a new, empty database (a data directory, or the address of one of PostgreSQL)."""
    histories = Histories(target, kind)
    histories.open()
    try:
        yield histories
    finally:
        histories.close()
        histories.runner.close()


def play(histories: Histories, count: int, *, seed: int | None = None, shrink: bool = True) -> None:
    """Play ``count`` histories, drawn from ``seed`` (without one: the same ones each time). Raises ``AssertionError`` at an
    anomaly, or ``Flaky`` when it does not happen twice; ``shrink`` makes it as short as can be first."""
    rules = settings(
        max_examples=count,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        derandomize=seed is None,
        suppress_health_check=list(HealthCheck),
    )

    def machine() -> Machine:
        return Machine(histories)

    run_state_machine_as_test(machine if seed is None else hypothesis.seed(seed)(machine), settings=rules)


def play_on(target: str | Path, count: int, seed: int) -> Outcome:
    """``count`` histories on a new, empty database, with what they showed."""
    began, outcome = time.monotonic(), Outcome("postgres" if "://" in str(target) else "sqlite", seed)
    with histories_on(target) as histories:
        try:
            play(histories, count, seed=seed)
        except (AssertionError, Flaky) as error:
            outcome.broken.append(str(error))
        outcome.broken += [f"calls: {calls}" for calls in histories.anomalies[:3]]
        if histories.played < count and not outcome.broken:
            outcome.broken.append(f"{histories.played} of {count} histories were played")
        outcome.histories, outcome.calls = histories.played, histories.calls
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


def play_anew(database: str, count: int, seed: int) -> Outcome:
    """``count`` histories on a database of our own of this kind."""
    if database == "sqlite":
        with light_folder("reelsift-histories-") as folder:
            return play_on(folder, count, seed)
    with running_postgres() as server:
        return play_on(server.url(server.create()), count, seed)


def summary(outcomes: Sequence[Mapping[str, Any]]) -> str:
    """One line for the promise."""
    histories: Counter[str] = Counter()
    for each in outcomes:
        histories[each["database"]] += each["histories"]
    calls = sum(each["calls"] for each in outcomes)
    broken = sum(len(each["broken"]) for each in outcomes)
    played = ", ".join(f"{number} on {database}" for database, number in histories.items())
    return f"R5: {histories.total()} histories ({played}) of {calls} calls: {broken} anomalies"
