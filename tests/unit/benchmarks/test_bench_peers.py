"""What peers share."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest

from tests.benchmarks.peers.common import Ask, Askers, blank, measured
from tests.media.clips import Picture


def test_every_frame_is_answered_by_one_of_the_threads() -> None:
    began = []

    def start() -> Ask:
        began.append(threading.get_ident())
        return len

    with Askers(3, start) as askers:
        askers.warm_up()
        assert askers.answer([blank(), blank(), blank(5)]) == 21
        assert askers.answer(blank(1) for _ in range(50)) == 50
    assert len(began) == len(set(began)) <= 3


def test_a_failure_is_raised_where_frames_come_from_and_ends_the_asking() -> None:
    asked = []

    def refuse(batch: Picture) -> int:
        raise ConnectionError("no")

    def endless() -> Iterator[Picture]:
        while True:
            asked.append(1)
            yield blank(1)

    with Askers(2, lambda: refuse) as askers, pytest.raises(RuntimeError, match="not answered") as caught:
        askers.answer(endless())
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert len(asked) < 20


def test_a_run_is_printed_as_its_frames_and_costs(capsys: pytest.CaptureFixture[str]) -> None:
    measured(lambda: sum(range(2_000_000)) and 7)
    said = json.loads(capsys.readouterr().out)
    assert said["frames"] == 7
    assert said["wall"] > 0
    assert said.keys() == {"frames", "wall", "cpu", "others"}
