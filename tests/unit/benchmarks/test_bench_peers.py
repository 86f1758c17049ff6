"""What peers share, and what their environments are locked to."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.adapters.triton import distribution
from tests.benchmarks.peers.common import Ask, Askers, blank, measured
from tests.media.clips import Picture

REQUIREMENTS = Path(__file__).resolve().parents[3] / "requirements"


def pins(name: str) -> dict[str, set[str]]:
    """Versions by package of a locked file (several where they depend on the Python)."""
    found: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([a-z0-9-]+)==(\S+)", (REQUIREMENTS / name).read_text(), re.MULTILINE):
        found.setdefault(package, set()).add(version)
    return found


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


def test_peers_are_measured_with_our_own_versions() -> None:
    ours, pytriton = pins("lock.txt"), pins("bench-pytriton.txt")
    for package in ("onnxruntime", "tritonclient", "grpcio"):
        assert pytriton[package] == ours[package]
    bench = pins("bench.txt")
    assert {package: bench[package] for package in bench.keys() & ours.keys()} == {
        package: ours[package] for package in bench.keys() & ours.keys()
    }


def test_pytriton_is_the_wheel_that_our_triton_comes_from() -> None:
    text = (REQUIREMENTS / "bench-pytriton.txt").read_text()
    assert distribution.WHEEL in text
    assert distribution.WHEEL_SHA256 in text
