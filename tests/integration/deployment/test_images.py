"""The images without an engine: their Dockerfile linted, what they copy, and their command run as their user, with a read-only root."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from platformdirs import user_cache_path

from orchestrator.settings import Settings
from tests.support.deployment import OPS, ROOT, environment, instructions, stage, words
from tests.support.systemd import Systemd, can_run, running_systemd

DOCKERFILE = OPS / "docker" / "Dockerfile"
STAGES = ("cpu", "gpu")
VENV = Path(sys.prefix)


def test_it_is_linted() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", [*STAGES, "models"])
def test_what_is_copied_is_there_and_not_ignored(name: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    kept = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    for instruction, rest in stage(DOCKERFILE, name):
        if instruction == "COPY":
            *sources, _ = rest.split()
            for source in sources:
                assert (ROOT / source).exists(), source
                assert source in kept or source.split("/")[0] in kept, source


def test_bases_are_pinned() -> None:
    named = [rest.partition(" AS ")[0] for instruction, rest in instructions(DOCKERFILE) if instruction == "FROM"]
    default = next(rest for instruction, rest in instructions(DOCKERFILE) if instruction == "ARG").partition("=")[2]
    for base in named:
        image = default if base == "${PYTHON_IMAGE}" else base
        assert image == "base" or re.fullmatch(r"[a-z]+:\d+\.\d+\.\d+[a-z0-9-]*", image), image


@pytest.mark.parametrize("name", STAGES)
def test_the_lock_of_an_image_has_what_the_service_needs(name: str) -> None:
    """Every dependency of the project and of the image's extra, with hashes, and nothing that only develops."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    file = {"cpu": "serve.txt", "gpu": "serve-gpu.txt"}[name]
    text = (ROOT / "requirements" / file).read_text()
    locked = dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", text, re.MULTILINE))
    wanted = [Requirement(each) for each in (*project["dependencies"], *project["optional-dependencies"][name])]
    for each in wanted:
        assert each.name.lower() in locked, each
        assert each.specifier.contains(locked[each.name.lower()]), each
    assert text.count("--hash=sha256:") >= len(locked)
    assert not {"pytest", "mypy", "ruff", "hypothesis"} & set(locked)
    everything = dict(
        re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;\\]+)", (ROOT / "requirements" / "lock.txt").read_text(), re.MULTILINE)
    )
    both = set(locked) & set(everything)
    assert {each: locked[each] for each in both} == {each: everything[each] for each in both}, (
        "what is tested is what is deployed"
    )
    assert "hatchling" in locked, "the project itself is built without isolation"


@pytest.mark.skipif(not can_run(), reason="only root can take another user's part")
def test_the_service_runs_as_its_image_says(tmp_path: Path) -> None:
    """ENTRYPOINT and CMD with the ENV and USER of the image, Triton from a cache that cannot be written, and a root that cannot, either."""
    made = stage(DOCKERFILE, "cpu")
    variables = environment(made)
    user, group = next(rest for instruction, rest in reversed(made) if instruction == "USER").split(":")
    entry = words(next(rest for instruction, rest in reversed(made) if instruction == "ENTRYPOINT"))
    command = words(next(rest for instruction, rest in reversed(made) if instruction == "CMD"))
    assert entry[:2] == ["tini", "--"]  # Debian's, in the image; here systemd buries orphans
    check = words(next(rest for instruction, rest in made if instruction == "HEALTHCHECK").partition("CMD ")[2])
    triton = next(each for each in user_cache_path("reelsift").glob("triton-*") if each.is_dir())
    python = Path(sys.base_prefix).resolve()
    unit = f"""
[Service]
Type=exec
User={user}
Group={group}
ExecStart=/opt/python/bin/{entry[2]} {shlex.join(command)}
{"".join(f"Environment={name}={value}{chr(10)}" for name, value in variables.items())}
Environment=PYTHONPATH={ROOT}
ProtectSystem=strict
ProtectHome=tmpfs
BindReadOnlyPaths={python}
ReadWritePaths=/data /tmp
NoNewPrivileges=yes
CapabilityBoundingSet=
StandardError=append:/run/said
"""
    prepare = f"""
        mkdir -p /opt/python /opt/cache/reelsift/{triton.name} /run/root
        mount --bind {shlex.quote(str(VENV))} /opt/python
        mount --bind -o ro {shlex.quote(str(triton))} /opt/cache/reelsift/{triton.name}
        mount -t tmpfs tmpfs /srv && mkdir /srv/data /srv/models
        printf '%s' {shlex.quote(unit)} > /etc/systemd/system/container.service
        mount --bind {shlex.quote(str(Settings().model_repository))} /srv/models && mount -o remount,bind,ro /srv/models
        echo reelsift:x:{user}:{group}::/srv/data:/usr/sbin/nologin >> /etc/passwd && echo reelsift:x:{group}: >> /etc/group
        chown {user}:{group} /srv/data
    """
    # The image's own folders below / cannot be made on this machine's: they lie below /srv here.
    prepare = prepare.replace("=/data", "=/srv/data").replace("=/models", "=/srv/models")
    with running_systemd(prepare) as running:
        running.control("start", "container.service", check=False)
        deadline = time.monotonic() + 60
        probe = ["/opt/python/bin/python", *check[1:]]
        while running.run(*probe, check=False).returncode:
            state = running.show("container.service", "ActiveState")["ActiveState"]
            assert state == "active", running.control("status", "container.service", check=False) + _said(running)
            assert time.monotonic() < deadline, "it never became healthy"
            time.sleep(0.3)
        written = running.run("find", "/srv/data", "-newer", "/run/prepared", "-type", "f").stdout.split()
        assert any(path.endswith(".log") for path in written), written  # Triton's, below XDG_STATE_HOME
        pid = running.show("container.service", "MainPID")["MainPID"]
        status = running.files(f"/proc/{pid}/status").read_text()
        assert re.search(rf"^Uid:\t{user}\t", status, re.MULTILINE)
        running.control("stop", "container.service")
        assert running.show("container.service", "Result", "ExecMainStatus") == {
            "Result": "success",
            "ExecMainStatus": "0",
        }


def _said(running: Systemd) -> str:
    file = running.files("/run/said")
    return file.read_text()[-5000:] if file.exists() else ""
