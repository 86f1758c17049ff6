"""The real Envoy with ops/envoy/envoy.yaml before the real service: TLS, who may come in, what may be asked, and the service's end."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from orchestrator.api import messages as pb
from orchestrator.api.gen.reelsift.v1.analysis_pb2_grpc import AnalysisServiceStub
from orchestrator.api.gen.reelsift.v1.model_pb2_grpc import ModelServiceStub
from tests.acceptance.server import REELSIFT, START_SECONDS, environment, wait_until
from tests.conftest import Film
from tests.support.deployment import OPS

ENVOY = Path(sys.executable).with_name("envoy")
CONFIG = OPS / "envoy" / "envoy.yaml"


@dataclass
class Edge:
    """Envoy before a service. ``log``: Envoy's."""

    port: int
    admin: int
    secrets: Path
    service: subprocess.Popen[bytes]
    log: Path

    def http(self, *, known: bool = True, version: str = "1.1") -> httpx.Client:
        context = ssl.create_default_context(cafile=str(self.secrets / "edge_authority"))
        if known:
            context.load_cert_chain(self.secrets / "client_certificate", self.secrets / "client_key")
        return httpx.Client(base_url=f"https://localhost:{self.port}", verify=context, timeout=20)

    def channel(self) -> grpc.Channel:
        names = ("edge_authority", "client_key", "client_certificate")
        authority, key, certificate = ((self.secrets / name).read_bytes() for name in names)
        return grpc.secure_channel(f"localhost:{self.port}", grpc.ssl_channel_credentials(authority, key, certificate))

    def healthy(self) -> int:
        """How many servers Envoy would send a call to."""
        text = httpx.get(f"http://127.0.0.1:{self.admin}/clusters?format=json").json()
        hosts = [host for each in text["cluster_statuses"] for host in each.get("host_statuses", [])]
        return sum("failed_active_health_check" not in host["health_status"] for host in hosts)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory, composite: Film) -> Iterator[Edge]:
    """The very file, with this machine's ports, places and addresses in it."""
    folder = tmp_path_factory.mktemp("edge")
    subprocess.run([OPS / "docker" / "secrets.sh", folder / "secrets"], check=True)
    listen, admin, grpc_port, http_port = free_ports(4)
    text = CONFIG.read_text()
    for named, here in (
        ("/run/secrets/", f"{folder}/secrets/"),
        ("port_value: 8443", f"port_value: {listen}"),
        ("port_value: 9901", f"port_value: {admin}"),
        ("address: orchestrator, port_value: 50051", f"address: 127.0.0.1, port_value: {grpc_port}"),
        ("address: orchestrator, port_value: 8080", f"address: 127.0.0.1, port_value: {http_port}"),
        ("interval: 5s", "interval: 0.5s"),
    ):
        assert named in text
        text = text.replace(named, here)
    (folder / "envoy.yaml").write_text(text)
    variables = {
        "REELSIFT_LISTEN": f"127.0.0.1:{grpc_port}",
        "REELSIFT_HTTP_LISTEN": f"127.0.0.1:{http_port}",
        "REELSIFT_DATA_DIR": str(folder / "data"),
        "REELSIFT_ROOTS": f'["{composite.path.parent}"]',
        "REELSIFT_DRAIN_SECONDS": "8",
    }
    with (folder / "service").open("wb") as said, (folder / "log").open("wb") as log:
        service = subprocess.Popen([REELSIFT, "serve"], env=environment() | variables, stdout=said, stderr=said)
        proxy = subprocess.Popen(
            [
                ENVOY, "--config-path", folder / "envoy.yaml", "--log-level", "warning", "--concurrency", "1",
                "--base-id", str(os.getpid() % 30000),
            ],
            stdout=log, stderr=log,
        )  # fmt: skip
    made = Edge(listen, admin, folder / "secrets", service, folder / "log")
    try:
        wait_until(lambda: _ready(admin, proxy), 20, "Envoy is live")
        wait_until(
            lambda: made.healthy() == 2 or service.poll() is not None, START_SECONDS, "Envoy finds the service fit"
        )
        assert service.poll() is None, (folder / "service").read_text()
        yield made
    finally:
        for process in (proxy, service):
            process.terminate()
        for process in (proxy, service):
            process.wait(30)


def _ready(port: int, proxy: subprocess.Popen[bytes]) -> bool:
    assert proxy.poll() is None, "Envoy did not start"
    try:
        return httpx.get(f"http://127.0.0.1:{port}/ready").text.strip() == "LIVE"
    except httpx.TransportError:
        return False


def test_envoy_understands_every_field(tmp_path: Path) -> None:
    """The file as it is; only the certificates are elsewhere."""
    subprocess.run([OPS / "docker" / "secrets.sh", tmp_path / "secrets"], check=True)
    (tmp_path / "envoy.yaml").write_text(CONFIG.read_text().replace("/run/secrets/", f"{tmp_path}/secrets/"))
    done = subprocess.run(
        [ENVOY, "--mode", "validate", "--config-path", tmp_path / "envoy.yaml", "--reject-unknown-dynamic-fields"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr.lower(), done.stderr
    image = yaml.safe_load((OPS.parent / "docker-compose.yml").read_text())["services"]["envoy"]["image"]
    version = subprocess.run([ENVOY, "--version"], capture_output=True, text=True, check=True).stdout
    assert f"/{image.partition(':v')[2]}/" in version, "the version that is tested is the one that is deployed"


def test_an_analysis_streams_through(edge: Edge, composite: Film) -> None:
    with edge.channel() as channel:
        stub = AnalysisServiceStub(channel)
        config = pb.AnalysisConfig(profile="fast", path=str(composite.path))
        responses = list(stub.Analyze(iter([pb.AnalyzeRequest(config=config)]), timeout=120))
    assert responses[-1].HasField("finished")
    assert any(each.HasField("segment") for each in responses)


def test_an_upload_streams_through(edge: Edge, composite: Film) -> None:
    with edge.http() as client:
        made = client.post("/api/v1/analyses", json={"config": {"profile": "fast", "upload": {}}})
        assert made.status_code == 201, made.text
        name = made.json()["analysis"]["analysisId"]
        put = client.put(f"/api/v1/analyses/{name}/media", content=composite.path.read_bytes())
        assert put.status_code in (200, 201, 204), put.text
        with client.stream("GET", f"/api/v1/analyses/{name}/events", timeout=60) as events:
            assert "segment" in "".join(events.iter_text())


def test_browsers_may_ask(edge: Edge) -> None:
    """gRPC-Web: the frames of gRPC over plain HTTP, its trailers in the body."""
    message = pb.ListAnalysesRequest(page_size=1).SerializeToString()
    frame = b"\0" + struct.pack(">I", len(message)) + message
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1", "origin": "https://localhost"}
    with edge.http() as client:
        answer = client.post("/reelsift.v1.AnalysisService/ListAnalyses", content=frame, headers=headers)
        asked = client.options(
            "/reelsift.v1.AnalysisService/ListAnalyses",
            headers={"origin": "https://localhost", "access-control-request-method": "POST"},
        )
        elsewhere = client.options(
            "/reelsift.v1.AnalysisService/ListAnalyses",
            headers={"origin": "https://elsewhere.example", "access-control-request-method": "POST"},
        )
    assert answer.headers["content-type"] == "application/grpc-web+proto"
    assert answer.headers["access-control-allow-origin"] == "https://localhost"
    length = struct.unpack(">I", answer.content[1:5])[0]
    assert pb.ListAnalysesResponse.FromString(answer.content[5 : 5 + length]).analyses
    assert b"grpc-status:0" in answer.content[5 + length :]  # the trailers are in the body
    assert asked.headers["access-control-allow-origin"] == "https://localhost"
    assert "access-control-allow-origin" not in elsewhere.headers


def test_nobody_comes_in_without_a_certificate(edge: Edge) -> None:
    with edge.http(known=False) as client, pytest.raises(httpx.TransportError):
        client.get("/healthz")
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://localhost:{edge.port}/healthz")
    with edge.http() as client:
        assert client.get("/healthz").json() == {"live": True}
    old = ssl.create_default_context(cafile=str(edge.secrets / "edge_authority"))
    old.load_cert_chain(edge.secrets / "client_certificate", edge.secrets / "client_key")
    with pytest.deprecated_call():
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with socket.create_connection(("localhost", edge.port)) as raw, pytest.raises(ssl.SSLError):
        old.wrap_socket(raw, server_hostname="localhost")


@pytest.mark.parametrize(
    "path",
    [
        "/metrics", "/api/v1/status", "/api/v1/maintenance", "/api/v1:drain", "/api/v1/settings:reload", "/api/v1/sessions",
        "/api/v1/alerts", "/api/v1/silences", "/api/v1/health/detailed", "/api/v1/models", "/api/v1/analyses/../models",
        "/api/v1/analyses/..%2f..%2f..%2fmetrics", "//metrics", "/api/v1/analyses:x", "/",
    ],
)  # fmt: skip
def test_what_is_the_operators_is_not_for_clients(edge: Edge, path: str) -> None:
    with edge.http() as client:
        for method in ("GET", "POST"):
            request = client.build_request(method, "/")
            request.url = request.url.copy_with(raw_path=path.encode())
            answer = client.send(request)
            assert answer.status_code in (400, 404), (path, answer.text)
            assert answer.headers.get("content-type") != "application/json", "Envoy answers, not the service"


def test_the_models_are_not_for_clients(edge: Edge) -> None:
    with edge.channel() as channel, pytest.raises(grpc.RpcError) as refused:
        ModelServiceStub(channel).ListModels(pb.ListModelsRequest())
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_one_that_drains_gets_no_new_calls(edge: Edge, composite: Film) -> None:
    """The last test: behind it the service is gone. A call under way ends well; new ones are told that nobody is there."""
    with edge.channel() as channel:
        stub = AnalysisServiceStub(channel)
        config = pb.AnalysisConfig(profile="default", path=str(composite.path))
        under_way = stub.Analyze(iter([pb.AnalyzeRequest(config=config)]), timeout=60)
        next(under_way)
        edge.service.send_signal(signal.SIGTERM)
        wait_until(lambda: edge.healthy() == 0, 6, "Envoy has seen it")
        with pytest.raises(grpc.RpcError) as refused:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        rest, error = _until_it_breaks(under_way)
    # It ended within the drain, or went back to the queue: then the client goes on elsewhere.
    assert rest[-1].HasField("finished") if error is None else error.code() is grpc.StatusCode.UNAVAILABLE
    assert edge.service.wait(60) == 0


def _until_it_breaks(stream: Iterator[pb.AnalyzeResponse]) -> tuple[list[pb.AnalyzeResponse], grpc.RpcError | None]:
    """What still comes, and what ended it."""
    found = []
    try:
        for response in stream:
            found.append(response)
    except grpc.RpcError as error:
        return found, error
    return found, None
