"""R2 in short: the process dies once at every failpoint there is. In processes of their own, as these fork."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter

from orchestrator import failpoints as armed
from tests.acceptance.server import environment
from tests.faults import at_work, failpoints
from tests.faults.__main__ import of_lives, of_rollouts, of_server
from tests.faults.broken import IN_BETWEEN

PLAY = """
import json, sys
from tests.faults import failpoints, rollouts
points, fault = json.loads(sys.argv[1]), sys.argv[2]
outcome = rollouts.play(points, 1) if fault == "rollouts" else failpoints.play(points, 1, 1, fault)
sys.stdout.write(json.dumps(outcome.as_json()))
"""


def play(points: list[str], fault: str = "") -> dict[str, object]:
    line = [sys.executable, "-c", PLAY, json.dumps(points), fault]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env={**environment(), "PYTHONPATH": "."})
    assert done.returncode == 0, done.stderr
    outcome: dict[str, object] = json.loads(done.stdout)
    return outcome


def test_every_failpoint_of_the_store_uploads_and_blobs_is_safe() -> None:
    points = of_lives()
    outcome = play(points)
    assert outcome["broken"] == []
    assert outcome["deaths"] == dict.fromkeys(points, 1)


def test_every_failpoint_of_a_rollout_is_safe() -> None:
    points = of_rollouts()
    steps = ("stage", "refuse", "shadow", "canary", "promote", "rollback", "retire", "turn_away")
    assert points == sorted(f"rollout.{step}.{side}" for step in steps for side in ("before", "after"))
    outcome = play(points, "rollouts")
    assert outcome["broken"] == []
    assert outcome["deaths"] == dict.fromkeys(points, 1)


def test_a_torn_commit_is_noticed() -> None:
    outcome = play([IN_BETWEEN], "torn")
    assert outcome["deaths"] == {IN_BETWEEN: 1}
    assert "checkpoint and segments differ" in str(outcome["broken"])


async def test_every_failpoint_of_an_attempt_is_safe(triton: str) -> None:
    points = of_server()
    outcome = await at_work.play(points, 1, 1, triton)
    assert outcome.broken == []
    assert outcome.deaths == dict.fromkeys(points, 1)


def test_lives_that_do_not_come_by_a_point_leave_it_to_others() -> None:
    seen = {7: Counter(a=2), 8: Counter(b=3)}
    assert failpoints._passing("b", 7, 0, seen) == (8, 3)
    assert failpoints._passing("a", 7, 1, seen) == (7, 2)
    assert failpoints._passing("c", 7, 0, seen) == (7, 0)


def test_the_steps_that_matter_have_failpoints() -> None:
    steps = ("create", "claim", "begin", "commit_segment", "end", "requeue", "set_upload", "delete")
    wanted = {f"store.{step}.{side}" for step in steps for side in ("before", "after")}
    assert wanted <= set(failpoints.names())


def test_a_process_dies_at_its_time() -> None:
    program = "from orchestrator import failpoints as f; [(print(i, flush=True), f.reach('here')) for i in range(9)]"
    named = {**os.environ, armed.VARIABLE: "here:3"}
    done = subprocess.run([sys.executable, "-c", program], env=named, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.split() == ["0", "1", "2"]
