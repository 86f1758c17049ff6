"""R3 in short, and what happens on a disk that lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.powerloss import Tape, lose, tape

LOSSES = 30


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Tape:
    folder: Path = tmp_path_factory.mktemp("tape")
    return tape(folder, seed=1)


async def test_no_acknowledged_row_byte_or_blob_is_lost(made: Tape) -> None:
    outcome = await lose(made, LOSSES, seed=2)
    assert not outcome.broken
    assert outcome.syncs > 100
    assert outcome.marks > 10 * LOSSES


@pytest.mark.parametrize("obeys", [(False, True), (True, False)], ids=["files", "directories"])
async def test_a_disk_that_does_not_obey_is_noticed(made: Tape, obeys: tuple[bool, bool]) -> None:
    outcome = await lose(made, 10, seed=3, obeys=obeys)
    assert outcome.lossy > 3
