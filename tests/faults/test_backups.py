"""Backup under a working service, in short. ``tests/contract/test_backup_while_writing.py`` holds the negative control."""

from __future__ import annotations

import pytest

from tests.faults import backups


@pytest.mark.timeout(240)
async def test_a_backup_of_a_working_service_goes_on_elsewhere(triton: str) -> None:
    # One after the other, so that most still wait when the backup has come up.
    plan = backups.Plan(1, ("shots", "keyframe"), uploads=False, clips=1, analyses=9, running=1, backups=1)
    outcome = await backups.play(plan, triton)
    assert outcome.broken == []
    assert outcome.backups == 1
    assert outcome.states.get("RUNNING", 0) + outcome.states.get("QUEUED", 0) > 0
    assert outcome.segments > 0
