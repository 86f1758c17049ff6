"""R5 in short, and stores that are broken."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis.errors import Flaky
from sqlalchemy import Connection, RowMapping

from orchestrator.adapters.stores import leases
from orchestrator.adapters.stores.rows import change, hold
from orchestrator.adapters.stores.sql import SqlAnalysisStore
from orchestrator.core.jobs import AnalysisState, Lease
from orchestrator.errors import LeaseLost
from tests.faults.histories import histories_on, play

HISTORIES = 20


def test_no_history_tells_a_store_from_its_model(store_target: str | Path) -> None:
    with histories_on(store_target) as histories:
        play(histories, HISTORIES)
    assert histories.played >= HISTORIES
    assert not histories.anomalies


class TrustsEveryLease(SqlAnalysisStore):
    """Looks at the state, and not at the token."""

    def _held(self, sql: Connection, lease: Lease) -> RowMapping:
        row = hold(sql, lease.analysis_id)
        if row["state"] != AnalysisState.RUNNING:
            raise LeaseLost("")
        return row


class ClaimsInTwoSteps(SqlAnalysisStore):
    """Looks whether an analysis waits in one transaction, and takes it in another."""

    async def claim(self, analysis_id: str, owner: str) -> Lease | None:
        if (await self.get(analysis_id)).state is not AnalysisState.QUEUED:
            return None

        def take(sql: Connection) -> Lease | None:
            change(sql, analysis_id, state=AnalysisState.QUEUED.value)
            return leases.claim(sql, analysis_id, owner, datetime.now(UTC))

        return await self.write(take)


@pytest.mark.parametrize("broken", [TrustsEveryLease, ClaimsInTwoSteps])
def test_a_broken_store_is_found_out(store_target: str | Path, broken: type[SqlAnalysisStore]) -> None:
    # What depends on a race may not happen again when Hypothesis looks twice, and it says so: that is no less found out.
    with histories_on(store_target, broken) as histories, pytest.raises((AssertionError, Flaky)):
        play(histories, 200, shrink=False)
    assert histories.anomalies
