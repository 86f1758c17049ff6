"""The units at work under a real systemd: installed as `ops/systemd/install.sh` does it, in namespaces of the tests' own.

The service runs in its whole cage, decodes and asks models there; timers' services are started as the timers would.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from platformdirs import user_cache_path

from orchestrator.adapters.stores import series
from orchestrator.settings import Settings
from tests.conftest import Film
from tests.support.deployment import OPS, ROOT
from tests.support.systemd import Systemd, can_run, running_systemd

pytestmark = pytest.mark.skipif(not can_run(), reason="only root can start a systemd of its own (Debian: systemd)")

VENV = Path(sys.prefix)
#: As an operator would: a drop-in that shows the service what lies below /root or /home, here this Python and our checkout.
SHOWN = f"""
[Service]
BindReadOnlyPaths={Path(sys.base_prefix).resolve()}
Environment=PYTHONPATH={ROOT} REELSIFT_MODEL_REPOSITORY=/var/lib/reelsift/model_repository REELSIFT_DRAIN_SECONDS=5
Environment='REELSIFT_ROOTS=["/srv/media"]'
StandardError=append:/run/said
"""


def prepare() -> str:
    """What stands before `install.sh` in ops/deployment.md, without the downloads: they are in this user's cache."""
    triton = next(each for each in user_cache_path("reelsift").glob("triton-*") if each.is_dir())
    models = Settings().model_repository
    quoted = shlex.quote
    return f"""
        mkdir -p /opt/reelsift && mount --bind {quoted(str(VENV))} /opt/reelsift
        mount -t tmpfs tmpfs /srv
        mkdir /srv/media
        mkdir -p /etc/systemd/system/reelsift.service.d /etc/systemd/system/reelsift-.service.d
        printf %s "$SHOWN" | tee /etc/systemd/system/reelsift.service.d/shown.conf > /etc/systemd/system/reelsift-.service.d/shown.conf
        mkdir -p /run/triton/{triton.name} && mount --bind -o ro {quoted(str(triton))} /run/triton/{triton.name}
        mkdir -p /run/models && mount --bind -o ro {quoted(str(models))} /run/models
    """


INSTALL = f"""
    sh {OPS}/systemd/install.sh
    install -d -m 700 -o reelsift -g reelsift /var/cache/reelsift /var/lib/reelsift/model_repository
    triton=$(ls /run/triton) && install -d -o reelsift -g reelsift /var/cache/reelsift/$triton
    mount --bind -o ro /run/triton/$triton /var/cache/reelsift/$triton
    mount --bind -o ro /run/models /var/lib/reelsift/model_repository
"""


@pytest.fixture(scope="module")
def systemd(composite: Film) -> Iterator[Systemd]:
    """One with our units, and the service at work."""
    os.environ["SHOWN"] = SHOWN
    with running_systemd(prepare()) as running:
        running.files("/srv/media/film.mp4").write_bytes(composite.path.read_bytes())
        running.run("sh", "-eu", "-c", INSTALL)
        started = running.run("systemctl", "start", "reelsift.service", check=False)
        if started.returncode:
            pytest.fail(journal(running))
        yield running


def journal(running: Systemd) -> str:
    """What the services said: in a file, for there is no journal in there."""
    status = running.control("status", "reelsift.service", check=False)
    return status + running.files("/run/said").read_text()[-8000:]


def reelsift(running: Systemd, *arguments: str) -> str:
    """A command against the service, as an operator calls it."""
    return running.run("/opt/reelsift/bin/reelsift", *arguments, environment={"PYTHONPATH": str(ROOT)}).stdout


def test_it_is_up_when_systemd_says_so(systemd: Systemd) -> None:
    shown = systemd.show("reelsift.service", "ActiveState", "SubState", "StatusText", "User", "WatchdogUSec", "MainPID")
    assert (shown["ActiveState"], shown["SubState"], shown["User"]) == ("active", "running", "reelsift")
    assert shown["StatusText"] == "serving at 127.0.0.1:50051"
    ready = systemd.run(VENV / "bin/python", "-c", READY).stdout
    assert json.loads(ready)["ready"] is True


READY = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8080/readyz').read().decode())"


def test_it_analyses_in_its_cage(systemd: Systemd, composite: Film) -> None:
    events = [
        json.loads(line)
        for line in reelsift(
            systemd, "analyze", "/srv/media/film.mp4", "--server", "127.0.0.1:50051", "--json", "--fresh"
        ).splitlines()
    ]
    finished = events[-1]["finished"]
    assert int(finished["ledger"]["decodedFrames"]) == composite.truth.frames, finished
    assert sum("segment" in event for event in events) > 5


def test_the_cage_holds(systemd: Systemd) -> None:
    """Every process of the service: another user, no privilege to be had, a filter on its system calls, and nothing to write to."""
    pid = systemd.show("reelsift.service", "MainPID")["MainPID"]
    group = systemd.show("reelsift.service", "ControlGroup")["ControlGroup"]
    pids = systemd.run(
        "sh",
        "-c",
        f"cat /sys/fs/cgroup/*{group}/cgroup.procs /sys/fs/cgroup{group}/cgroup.procs 2> /dev/null | sort -u",
    ).stdout.split()
    assert pid in pids
    names = set()
    for each in pids:
        status = dict(
            line.split(":\t", 1)
            for line in systemd.files(f"/proc/{each}/status").read_text().splitlines()
            if ":\t" in line
        )
        names.add(status["Name"])
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == "2"
        assert int(status["CapBnd"], 16) == 0 == int(status["CapEff"], 16)
        assert status["Uid"].split()[0] != "0"
    assert any(name.startswith("tritonserver") for name in names), names
    assert any(name.startswith("triton_python") for name in names), names
    seen = systemd.files(f"/proc/{pid}/root")
    assert list((seen / "home").iterdir()) == []
    mounts = systemd.files(f"/proc/{pid}/mountinfo").read_text()
    flags = {line.split()[4]: line.split()[5] for line in mounts.splitlines()}
    assert "ro" in flags["/"].split(",")


def test_a_backup_is_made_read_back_and_pruned(systemd: Systemd) -> None:
    for _ in range(2):
        systemd.control("start", "reelsift-backup.service")
        time.sleep(1.1)  # they are named by their second
    folder = systemd.files("/var/backups/reelsift")
    made = series.newest(folder)
    assert made is not None
    assert made.rows["analyses"] >= 1
    assert len([each for each in folder.iterdir() if each.is_dir()]) == 2
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_secret_is_a_file_and_a_setting(systemd: Systemd) -> None:
    """Root's own, in the folder of credentials; and what a service whose name begins with `reelsift-` makes of it."""
    systemd.run("sh", "-c", "umask 077; echo nowhere:1 > /etc/reelsift/credentials/triton")
    telling = "from orchestrator.settings import Settings; print(Settings().triton)"
    unit = (
        f"[Service]\nType=oneshot\nExecStart=/opt/reelsift/bin/python -c '{telling}'\nStandardOutput=append:/run/told\n"
    )
    systemd.files("/etc/systemd/system/reelsift-telling.service").write_text(unit)
    systemd.control("daemon-reload")
    try:
        systemd.control("start", "reelsift-telling.service")
        assert systemd.files("/run/told").read_text() == "nowhere:1\n"
    finally:
        systemd.run("rm", "/etc/reelsift/credentials/triton")


def test_settings_are_read_anew(systemd: Systemd) -> None:
    settings = systemd.files("/etc/reelsift/reelsift.toml")
    pid = systemd.show("reelsift.service", "MainPID")["MainPID"]
    settings.write_text(settings.read_text().replace('log_level = "info"', 'log_level = "warning"'))
    systemd.control("reload", "reelsift.service")
    deadline = time.monotonic() + 5
    while "settings.reloaded" not in (said := systemd.files("/run/said").read_text()):
        assert time.monotonic() < deadline, said[-3000:]
        time.sleep(0.05)
    shown = systemd.show("reelsift.service", "MainPID", "ActiveState")
    assert shown == {"MainPID": pid, "ActiveState": "active"}


def test_timers_wait(systemd: Systemd) -> None:
    timers = sorted(unit.name for unit in (OPS / "systemd").glob("*.timer"))
    systemd.control("start", *timers)
    listed = systemd.control("list-timers", "--all")
    assert all(timer in listed for timer in timers)


def test_a_hang_is_ended_and_a_new_service_started(systemd: Systemd) -> None:
    """The watchdog: a stopped process says nothing, like one whose event loop hangs."""
    drop_in = "/etc/systemd/system/reelsift.service.d/watchdog.conf"
    systemd.run("sh", "-c", f"printf '[Service]\\nWatchdogSec=2s\\n' > {drop_in}")
    systemd.control("daemon-reload")
    systemd.control("restart", "reelsift.service")
    before = systemd.show("reelsift.service", "MainPID")["MainPID"]
    systemd.run("kill", "-STOP", before)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        shown = systemd.show("reelsift.service", "MainPID", "ActiveState", "NRestarts")
        if shown["ActiveState"] == "active" and shown["MainPID"] not in ("0", before):
            break
        time.sleep(0.2)
    else:
        pytest.fail(journal(systemd))
    assert int(shown["NRestarts"]) == 1
    assert not systemd.files(f"/proc/{before}").exists()


def test_it_drains_and_leaves_nothing(systemd: Systemd) -> None:
    systemd.control("stop", *(unit.name for unit in (OPS / "systemd").glob("*.timer")))
    pid = systemd.show("reelsift.service", "MainPID")["MainPID"]
    systemd.control("stop", "reelsift.service")
    shown = systemd.show("reelsift.service", "ActiveState", "Result", "ExecMainStatus")
    assert shown == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}
    assert not list(systemd.files("/dev/shm").glob(f"reelsift-{pid}-*"))
    alive = systemd.run("ps", "-o", "comm=", "-U", "reelsift", check=False).stdout.split()
    assert alive == []
