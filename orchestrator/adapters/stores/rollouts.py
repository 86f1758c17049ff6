"""The wanted state of every model's versions, and how it came about; see ``pipeline.model_ports.RolloutStore``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, RowMapping, insert, select, update

from orchestrator.adapters.stores.codec import decode_json, encode_json, from_us, to_us
from orchestrator.adapters.stores.database import Database
from orchestrator.adapters.stores.rows import INSERT
from orchestrator.adapters.stores.schema import model_rollout_steps, model_rollouts
from orchestrator.core.rollout import Action, Candidate, Rail, Rollout, Stage, Step


class SqlRollouts:
    """Rollouts in a database. Each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def rollouts(self) -> Mapping[str, Rollout]:
        """See the port."""
        return await self._database.read(read_rollouts)

    async def step(self, rollout: Rollout, step: Step) -> bool:
        """See the port. In ``evidence`` numbers that are not finite become words (``"nan"``)."""
        if (rollout.model, rollout.revision, rollout.stable) != (step.model, step.revision, step.stable):
            raise ValueError(f"a step leads to its own state, got {step} for {rollout}")
        return await self._database.write(lambda sql: _commit(sql, rollout, step), at="store.step")

    async def history(self, model: str, limit: int = 100, before: int | None = None) -> Sequence[Step]:
        """See the port."""
        return await self._database.read(lambda sql: read_history(sql, model, limit, before))


def read_rollouts(connection: Connection) -> dict[str, Rollout]:
    """Every rollout by model."""
    rows = connection.execute(select(model_rollouts).order_by(model_rollouts.c.model)).mappings()
    return {row["model"]: _rollout_of(row) for row in rows}


def read_history(connection: Connection, model: str, limit: int, before: int | None = None) -> list[Step]:
    """At most ``limit`` steps of ``model`` below the revision ``before``, newest first."""
    steps = model_rollout_steps
    query = select(steps).where(steps.c.model == model).order_by(steps.c.revision.desc()).limit(limit)
    if before is not None:
        query = query.where(steps.c.revision < before)
    return [_step_of(row) for row in connection.execute(query).mappings()]


def _commit(connection: Connection, rollout: Rollout, step: Step) -> bool:
    taken = _begin(connection, rollout) if rollout.revision == 1 else _advance(connection, rollout)
    if not taken:
        return False
    connection.execute(insert(model_rollout_steps).values(_step_row(step)))
    return True


def _begin(connection: Connection, rollout: Rollout) -> bool:
    new = INSERT[connection.dialect.name](model_rollouts).values(_rollout_row(rollout))
    return connection.execute(new.on_conflict_do_nothing().returning(model_rollouts.c.model)).first() is not None


def _advance(connection: Connection, rollout: Rollout) -> bool:
    before = (model_rollouts.c.model == rollout.model, model_rollouts.c.revision == rollout.revision - 1)
    return connection.execute(update(model_rollouts).where(*before).values(_rollout_row(rollout))).rowcount == 1


def _rollout_row(rollout: Rollout) -> dict[str, object]:
    candidate = rollout.candidate
    return {
        "model": rollout.model,
        "revision": rollout.revision,
        "stable": rollout.stable,
        "candidate": candidate and candidate.version,
        "stage": candidate and candidate.stage.value,
        "share": candidate and candidate.share,
        "previous": rollout.previous,
    }


def _rollout_of(row: RowMapping) -> Rollout:
    candidate = None
    if row["candidate"] is not None:
        candidate = Candidate(row["candidate"], Stage(row["stage"]), row["share"])
    return Rollout(row["model"], row["stable"], candidate, row["previous"], row["revision"])


def _step_row(step: Step) -> dict[str, object]:
    evidence = {
        name: repr(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in step.evidence.items()
    }
    return {
        "model": step.model,
        "revision": step.revision,
        "action": step.action.value,
        "version": step.version,
        "stable": step.stable,
        "share": step.share,
        "at_us": to_us(step.at),
        "who": step.who,
        "why": step.why,
        "automatic": step.automatic,
        "rail": step.rail and step.rail.value,
        "detail": step.detail,
        "evidence": encode_json(evidence),
    }


def _step_of(row: RowMapping) -> Step:
    return Step(
        model=row["model"],
        revision=row["revision"],
        action=Action(row["action"]),
        version=row["version"],
        stable=row["stable"],
        at=from_us(row["at_us"]),
        who=row["who"],
        why=row["why"],
        share=row["share"],
        automatic=row["automatic"],
        rail=None if row["rail"] is None else Rail(row["rail"]),
        detail=row["detail"],
        evidence=decode_json(row["evidence"]),
    )
