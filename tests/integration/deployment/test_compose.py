"""docker-compose.yml and ops/docker/gpu.yml as Compose itself reads them (no engine is needed for that), held against the code."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator import __version__
from orchestrator.cli.serve import ENDING_SECONDS
from orchestrator.settings import Settings
from tests.support.deployment import (
    OPS,
    ROOT,
    check_command,
    check_settings,
    default,
    environment,
    is_setting,
    port_of,
    stage,
)

COMPOSE = Path(sys.executable).with_name("docker-compose")
DOCKERFILE = OPS / "docker" / "Dockerfile"
MONITORING = {"prometheus", "alertmanager", "grafana", "loki", "alloy"}
#: What our own images set and mount, and others' images have by themselves.
PORTS = {
    "orchestrator": {50051, 8080},
    "envoy": {8443},
    "prometheus": {9090},
    "alertmanager": {9093},
    "grafana": {3000},
}

Service = dict[str, Any]


def compose(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("REELSIFT_", "TRITON_", "COMPOSE_"))
    }
    line = [COMPOSE, "--project-directory", ROOT, "-f", ROOT / "docker-compose.yml", *arguments]
    secrets = {"REELSIFT_SECRETS": str(folder / "secrets")}
    return subprocess.run(line, env=kept | secrets | variables, capture_output=True, text=True, check=False, cwd=folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with secrets."""
    made = tmp_path_factory.mktemp("compose")
    subprocess.run([OPS / "docker" / "secrets.sh", made / "secrets"], check=True)
    return made


@pytest.fixture(scope="module", params=["cpu", "gpu"])
def services(request: pytest.FixtureRequest, folder: Path) -> dict[str, Service]:
    """What would run, by profile."""
    if request.param == "cpu":
        done = compose(folder, "--profile", "cpu", "config", "--format", "json")
    else:
        more = ("-f", str(OPS / "docker" / "gpu.yml"), "--profile", "gpu", "config", "--format", "json")
        done = compose(folder, *more, TRITON_IMAGE="tritonserver:26.07")
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr.lower(), done.stderr
    found: dict[str, Service] = json.loads(done.stdout)["services"]
    return found


def test_what_runs(services: dict[str, Service]) -> None:
    assert set(services) - {"triton"} == {"orchestrator", "postgres", "envoy", *MONITORING}
    orchestrator = services["orchestrator"]
    target = orchestrator["build"]["target"]
    assert orchestrator["image"] == f"reelsift:{__version__}-{target}"
    assert (target == "gpu") == ("triton" in services)


def test_tritons_image_has_to_be_named(folder: Path) -> None:
    done = compose(folder, "-f", str(OPS / "docker" / "gpu.yml"), "--profile", "gpu", "config")
    assert done.returncode != 0
    assert "TRITON_IMAGE" in done.stderr


def test_every_container_is_locked_in(services: dict[str, Service]) -> None:
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert not service.get("privileged"), name
        limits = service["deploy"]["resources"]["limits"]
        assert {"cpus", "memory", "pids"} <= set(limits), name
        assert service["restart"] == "unless-stopped", name
        if name != "triton":  # NVIDIA's image writes where it likes
            assert service["read_only"], name
            assert service["user"].split(":")[0].isdigit(), name
            assert name == "alloy" or service["user"].split(":")[0] != "0", name
        assert "healthcheck" in service or name == "orchestrator", name  # whose image has its own
    assert any(instruction == "HEALTHCHECK" for instruction, _ in stage(DOCKERFILE, "cpu"))


def test_images_are_pinned(services: dict[str, Service]) -> None:
    for name, service in services.items():
        image = service["image"]
        assert re.fullmatch(r"[a-z0-9/]+:v?\d+\.\d+(\.\d+)?[a-z0-9.-]*", image), image
        assert name == "triton" or "." not in image.split(":")[0], "no registry is named"


def test_only_the_edge_can_be_reached_from_elsewhere(services: dict[str, Service]) -> None:
    for name, service in services.items():
        for port in service.get("ports", ()):
            assert name == "envoy" or port.get("host_ip") == "127.0.0.1", (name, port)
        published = {port["target"] for port in service.get("ports", ())}
        assert published == PORTS.get(name, set()), name


def test_ports_are_the_codes(services: dict[str, Service]) -> None:
    made = environment(stage(DOCKERFILE, services["orchestrator"]["build"]["target"]))
    listening = {port_of(made["REELSIFT_LISTEN"]), port_of(made["REELSIFT_HTTP_LISTEN"])}
    assert listening == PORTS["orchestrator"] == {port_of(default("listen")), port_of(default("http_listen"))}
    exposed = [rest.split() for word, rest in stage(DOCKERFILE, "cpu") if word == "EXPOSE"]
    assert {int(port) for ports in exposed for port in ports} == listening


def test_variables_are_settings(services: dict[str, Service]) -> None:
    orchestrator = services["orchestrator"]
    variables = environment(stage(DOCKERFILE, orchestrator["build"]["target"])) | orchestrator["environment"]
    ours = {name: value for name, value in variables.items() if name.startswith("REELSIFT_")}
    assert all(is_setting(name) for name in ours), ours
    named = {Path(source["target"]) for source in orchestrator["secrets"]}
    assert all(str(path.parent) == "/run/secrets" and is_setting(path.name.upper()) for path in named), named
    drain = float(ours["REELSIFT_DRAIN_SECONDS"])
    assert _seconds(orchestrator["stop_grace_period"]) >= drain + ENDING_SECONDS
    settings = check_settings(tomllib.loads((OPS / "docker" / "reelsift.toml").read_text()))
    room = settings.arena_bytes + (512 << 20)
    assert int(orchestrator.get("shm_size", 0)) >= room


def test_secrets_are_files(folder: Path, services: dict[str, Service], monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = folder / "secrets"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    for name, service in services.items():
        for secret in service.get("secrets", ()):
            assert (secrets / secret["source"]).is_file(), (name, secret)
        for variable, value in (service.get("environment") or {}).items():
            if re.search("PASSWORD|SECRET|TOKEN|KEY", variable):
                path = str(value)
                assert path.startswith("/run/secrets/"), (name, variable)
                assert path.removeprefix("/run/secrets/") in {each["source"] for each in service["secrets"]}
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(secrets))
    password = (secrets / "postgres_password").read_text().strip()
    assert Settings().database == f"postgresql://reelsift:{password}@postgres/reelsift"
    assert Settings().triton_headers == (
        ("triton-grpc-protocol-reelsift-key", (secrets / "triton_key").read_text().strip()),
    )
    tracked = subprocess.run(["git", "check-ignore", "secrets/x"], cwd=ROOT, capture_output=True, check=False)
    assert tracked.returncode == 0, "the folder of secrets must be ignored"


def test_mounts_are_there(services: dict[str, Service]) -> None:
    for name, service in services.items():
        for mount in service.get("volumes", ()):
            if mount["type"] != "bind" or mount["source"] == "/var/run/docker.sock":
                continue
            source = Path(mount["source"])
            assert source.exists(), (name, source)
            assert mount.get("read_only"), (name, source)


def test_the_service_understands_its_command(services: dict[str, Service]) -> None:
    made = stage(DOCKERFILE, services["orchestrator"]["build"]["target"])
    entry = json.loads(next(rest for word, rest in reversed(made) if word == "ENTRYPOINT"))
    command = services["orchestrator"].get("command") or json.loads(
        next(rest for word, rest in reversed(made) if word == "CMD")
    )
    assert entry == ["tini", "--", "reelsift"]
    check_command(command)


def test_names_lead_to_services(services: dict[str, Service]) -> None:
    """Every `name:port` and URL that a service is given is another one's."""
    known = {
        "orchestrator": {50051, 8080},
        "triton": {8001},
        "prometheus": {9090},
        "alertmanager": {9093},
        "loki": {3100},
    }
    edge = yaml.safe_load((OPS / "envoy" / "envoy.yaml").read_text())
    for cluster in edge["static_resources"]["clusters"]:
        address = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
        assert address["port_value"] in known[address["address"]]
    for service in services.values():
        for value in (service.get("environment") or {}).values():
            for name, port in re.findall(r"(?:^|//)([a-z]+):(\d+)$", str(value)):
                assert int(port) in known[name], value
                assert name in services, value


def test_it_can_be_scaled(folder: Path) -> None:
    """As many ports of this machine as there may be orchestrators."""
    text = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["orchestrator"]["ports"]
    assert all(re.fullmatch(r"127\.0\.0\.1:(\d+)-(\d+):\d+", port) for port in text)
    done = compose(folder, "--profile", "cpu", "config", "--quiet")
    assert done.returncode == 0, done.stderr


def test_secrets_are_kept(folder: Path, tmp_path: Path) -> None:
    again = shutil.copytree(folder / "secrets", tmp_path / "secrets")
    (again / "grafana_password").unlink()
    before = {file.name: file.read_bytes() for file in again.iterdir()}
    subprocess.run([OPS / "docker" / "secrets.sh", again], check=True)
    after = {file.name: file.read_bytes() for file in again.iterdir()}
    assert len(after.pop("grafana_password")) == 49
    assert before == after


def _seconds(duration: str) -> float:
    minutes, seconds = re.fullmatch(r"(?:(\d+)m)?(?:(\d+)s)?", duration).groups()  # type: ignore[union-attr]
    return 60 * int(minutes or 0) + int(seconds or 0)
