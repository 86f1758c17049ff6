"""The units as files: what systemd itself thinks of them, and what they say held against the code."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

from orchestrator.adapters.triton.backends.onnxruntime import priority
from orchestrator.cli.serve import ENDING_SECONDS
from tests.support.debian import Tool, tool
from tests.support.deployment import OPS, check_command, check_settings, is_setting
from tests.support.systemd import TARGETS

SYSTEMD = OPS / "systemd"
UNITS = sorted([*SYSTEMD.glob("*.service"), *SYSTEMD.glob("*.timer")])
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]
EXPOSED = 1.2  # of 10; what is left is the network, which they need
UNCAGED = {"reelsift-restart.service"}  # runs systemctl alone, as root

Directives = dict[str, list[str]]


def read(unit: Path) -> Directives:
    """The directives of a unit, and those of the drop-in that systemd adds to all whose name begins with `reelsift-`."""
    found: Directives = defaultdict(list)
    files = [unit]
    if unit.name.startswith("reelsift-") and unit.suffix == ".service":
        files.append(SYSTEMD / "reelsift-.service.d" / "oneshot.conf")
    for file in files:
        for line in file.read_text().replace("\\\n", " ").splitlines():
            if line and line[0] not in "#[":
                name, _, value = line.partition("=")
                found[name].append(value)
    return found


@pytest.fixture(scope="session")
def analyze() -> Tool:
    return tool("systemd", "usr/bin/systemd-analyze", "libsystemd-shared")


@pytest.fixture
def laid_out(tmp_path: Path) -> Path:
    """A root directory with the units, and programs where they want them."""
    installed = tmp_path / "etc/systemd/system"
    installed.parent.mkdir(parents=True)
    installed.mkdir()
    for file in SYSTEMD.rglob("*"):
        if file.suffix in (".service", ".timer", ".conf") and file.parent.name in ("systemd", "reelsift-.service.d"):
            target = installed / file.relative_to(SYSTEMD)
            target.parent.mkdir(exist_ok=True)
            target.write_text(file.read_text())
    for target in TARGETS:
        (installed / f"{target}.target").write_text("[Unit]\n")
    for program in ("opt/reelsift/bin/reelsift", "bin/sh", "bin/kill", "bin/systemctl"):
        (tmp_path / program).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    return tmp_path


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_understands_every_line(analyze: Tool, laid_out: Path, unit: Path) -> None:
    done = analyze.run("verify", f"--root={laid_out}", unit.name, check=False)
    ours = [line for line in done.stderr.splitlines() if "reelsift" in line and unit.stem in line]
    # From 254 on; reelsift.service says what earlier ones make of it.
    ours = [line for line in ours if not re.search(r"Unknown key '(RestartSteps|RestartMaxDelaySec)'", line)]
    assert not ours, done.stderr


def test_systemd_understands_the_drop_in_for_a_gpu(analyze: Tool, laid_out: Path) -> None:
    folder = laid_out / "etc/systemd/system/reelsift.service.d"
    folder.mkdir()
    (folder / "gpu.conf").write_text((SYSTEMD / "gpu.conf").read_text())
    done = analyze.run("verify", f"--root={laid_out}", "reelsift.service", check=False)
    assert "gpu.conf" not in done.stderr, done.stderr
    shown = analyze.run("security", "--offline=true", f"--root={laid_out}", "--no-pager", "reelsift.service").stdout
    assert re.search(r"✗ PrivateDevices=", shown), "it was not read"


@pytest.mark.parametrize("unit", [each for each in SERVICES if each.name not in UNCAGED], ids=lambda unit: unit.name)
def test_how_much_a_service_could_do(analyze: Tool, laid_out: Path, unit: Path) -> None:
    done = analyze.run("security", "--offline=true", f"--root={laid_out}", "--json=short", unit.name)
    found = json.loads(done.stdout)
    shown = analyze.run("security", "--offline=true", f"--root={laid_out}", "--no-pager", unit.name).stdout
    exposure = float(re.search(r"Overall exposure level for \S+: ([\d.]+)", shown)[1])  # type: ignore[index]
    assert exposure <= EXPOSED, [each for each in found if each.get("exposure")]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_timers_and_their_services(analyze: Tool, unit: Path) -> None:
    directives = read(unit)
    if unit.suffix == ".timer":
        assert unit.with_suffix(".service").exists()
        (calendar,) = directives["OnCalendar"]
        assert "Next elapse" in analyze.run("calendar", calendar).stdout
        assert directives["WantedBy"] == ["timers.target"]
    for name in ("OnFailure", "Requisite"):
        for named in directives[name]:
            assert (SYSTEMD / named).exists(), named


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_commands_are_ours(unit: Path) -> None:
    (line,) = read(unit)["ExecStart"]
    words = shlex.split(line.lstrip("+").replace("%%", "%"))
    if words[0] == "/bin/sh":
        assert words[1] == "-c"
        words = shlex.split(words[2].removeprefix("exec "))
    if words[0] == "/bin/systemctl":
        assert words[1:] == ["try-restart", "reelsift.service"]
    else:
        assert words[0] == "/opt/reelsift/bin/reelsift"
        check_command(words[1:])


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_variables_are_settings(unit: Path) -> None:
    named = [word.partition("=")[0] for line in read(unit)["Environment"] for word in shlex.split(line)]
    assert all(is_setting(name) for name in named if name.startswith("REELSIFT_")), named


def test_the_settings_file_is_understood() -> None:
    settings = check_settings(tomllib.loads((SYSTEMD / "reelsift.toml").read_text()))
    (timeout,) = read(SYSTEMD / "reelsift.service")["TimeoutStopSec"]
    assert int(timeout.removesuffix("s")) >= settings.drain_seconds + ENDING_SECONDS


def test_models_may_come_back_from_niceness() -> None:
    (limit,) = read(SYSTEMD / "reelsift.service")["LimitNICE"]
    niceness = int(limit)
    assert limit[0] in "+-"  # a niceness, not the kernel's number
    raw = priority._LOWEST - niceness
    assert priority._LOWEST - raw <= 0


def test_what_systemd_makes_is_what_the_service_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    import platformdirs

    for line in read(SYSTEMD / "reelsift.service")["Environment"]:
        for word in shlex.split(line):
            monkeypatch.setenv(*word.split("=", 1))
    assert platformdirs.user_data_dir("reelsift") == "/var/lib/reelsift"
    assert platformdirs.user_cache_dir("reelsift") == "/var/cache/reelsift"
    assert platformdirs.user_state_dir("reelsift") == "/var/log/reelsift"


def test_log_rotation(tmp_path: Path) -> None:
    logrotate = tool("logrotate", "usr/sbin/logrotate", "libpopt0")
    folder = tmp_path / "log"
    folder.mkdir(mode=0o700)
    config = (SYSTEMD / "reelsift.logrotate").read_text()
    config = config.replace("/var/log/reelsift", str(folder)).replace("    su reelsift reelsift\n", "")
    (tmp_path / "config").write_text(config)
    (tmp_path / "config").chmod(0o644)
    log = folder / "triton-reelsift-1-00000000.log"
    with log.open("a") as triton:  # which keeps it open
        triton.write("before\n" * 100)
        triton.flush()
        logrotate.run("--force", f"--state={tmp_path}/state", tmp_path / "config")
        triton.write("behind\n")
    assert log.read_text() == "behind\n"
    assert [file.name for file in folder.iterdir() if file != log] == [f"{log.name}.1.gz"]
