"""``reelsift jobs`` as a user meets it: an analysis that outlives the command that began it."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

from tests.acceptance.answers import assert_same, parse, reelsift
from tests.acceptance.server import REELSIFT, Server, environment
from tests.conftest import Film
from tests.media.pathology import GOOD

MINE = ("--tenant", "jobs")


def test_a_detached_analysis_is_followed_listed_repeated_and_forgotten(server: Server, tmp_path: Path) -> None:
    at = ("--server", server.address)
    path = GOOD.build(tmp_path)
    detached = reelsift("analyze", path, "--analyzers", "keyframe", "--label", "kind=test", "--detach", *MINE, *at)
    assert detached.returncode == 0, detached.stderr
    analysis_id = detached.stdout.strip()

    whole = parse(reelsift("jobs", "watch", analysis_id, "--json", *at).stdout.splitlines())
    rest = parse(reelsift("jobs", "watch", analysis_id, "--json", "--after", "1", *at).stdout.splitlines())
    assert whole.finished.segment_count == len(whole.segments) > 0
    assert [each.sequence for each in rest.responses] == list(range(2, len(whole.segments) + 3))
    assert_same(rest, whole)

    again = reelsift("jobs", "retry", analysis_id, "--whole", *at).stdout.strip()
    repeated = parse(reelsift("jobs", "watch", again, "--json", *at).stdout.splitlines())
    assert_same(repeated, whole)

    listed = reelsift("jobs", "list", "--json", "--label", "kind=test", *MINE, *at).stdout.splitlines()
    found = [json.loads(line) for line in listed]
    assert [each["analysisId"] for each in found] == [again, analysis_id]
    assert [each["state"] for each in found] == ["ANALYSIS_STATE_SUCCEEDED"] * 2
    assert found[0]["retryOf"] == analysis_id

    shown = reelsift("jobs", "get", analysis_id, *at).stdout
    assert "succeeded" in shown
    assert found[1]["contentDigest"] in shown

    assert reelsift("jobs", "delete", analysis_id, again, *at).returncode == 0
    gone = reelsift("jobs", "get", analysis_id, *at)
    assert (gone.returncode, gone.stderr.split(":")[1].strip()) == (1, "NOT_FOUND")


def test_ctrl_c_cancels_at_the_server_and_says_so(server: Server, composite: Film) -> None:
    line = [REELSIFT, "analyze", composite.path, "--json", "--server", server.address, "--upload-rate", "100000"]
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), start_new_session=True
    )
    assert process.stdout is not None
    analysis_id = json.loads(process.stdout.readline())["analysisId"]
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, f"reelsift: cancelled {analysis_id}\n")
    told = json.loads(reelsift("jobs", "get", analysis_id, "--json", "--server", server.address).stdout)
    assert told["state"] == "ANALYSIS_STATE_CANCELLED"


def test_a_dry_run_analyses_nothing(server: Server, tmp_path: Path) -> None:
    path = GOOD.build(tmp_path)
    words = ("--analyzers", "labels", "--tenant", "nobody", "--server", server.address)
    told = json.loads(reelsift("analyze", path, "--dry-run", "--json", *words).stdout)
    assert told["analyzers"] == ["labels"]
    assert [model["name"] for model in told["models"]] == ["labels"]
    listed = reelsift("jobs", "list", "--json", "--tenant", "nobody", "--server", server.address)
    assert (listed.returncode, listed.stdout) == (0, "")
