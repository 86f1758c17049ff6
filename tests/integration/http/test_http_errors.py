"""Every error has one shape, the status of its class, and nothing of this machine in it."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
import structlog

from orchestrator import errors
from orchestrator.api.http.unary import MAX_JSON_BYTES
from orchestrator.errors import (
    AnalysisNotEnded,
    DiskFull,
    InvalidRequest,
    NotFound,
    QueueFull,
    ReelsiftError,
    RequestIdReused,
    SourceGone,
    SourceNotAllowed,
    StoreUnavailable,
)
from tests.integration.http.conftest import Running

API = "/api/v1"

pytestmark = pytest.mark.asyncio(loop_scope="module")  # one server for all


def reason(answer: httpx.Response) -> str:
    """The stable reason in an error; checks its shape."""
    assert answer.headers["content-type"] == "application/json"
    status = answer.json()
    assert status.keys() == {"code", "message", "details"}
    info = status["details"][0]
    assert (info["@type"], info["domain"]) == ("type.googleapis.com/google.rpc.ErrorInfo", "reelsift.dev")
    return str(info["reason"])


@pytest.mark.parametrize(
    "error",
    [
        InvalidRequest("no", field="x"),
        NotFound("no"),
        SourceNotAllowed("no"),
        RequestIdReused("no"),
        AnalysisNotEnded("no"),
        SourceGone("no"),
        QueueFull("no"),
        DiskFull("no"),
        StoreUnavailable("no"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_error_of_the_tree(running: Running, error: ReelsiftError) -> None:
    running.analyses.refusal = error
    answer = await running.client.get(f"{API}/analyses/a-0")
    assert answer.status_code == error.http_status
    assert reason(answer) == error.reason
    assert answer.json()["message"] == "no"
    assert answer.json()["details"][0]["metadata"] == error.detail
    retry = [each for each in answer.json()["details"] if each["@type"].endswith("RetryInfo")]
    assert bool(retry) == error.retryable == ("retry-after" in answer.headers)
    if retry:
        assert answer.headers["retry-after"] + "s" == retry[0]["retryDelay"]


async def test_every_class_of_the_tree_has_an_http_status() -> None:
    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, ReelsiftError)]
    assert len(classes) > 20
    assert all(400 <= each.http_status < 600 for each in classes)


async def test_a_surprise_says_nothing_of_itself(running: Running) -> None:
    running.analyses.refusal = RuntimeError("/home/somebody/secret: errno 5")
    with structlog.testing.capture_logs() as logs:
        answer = await running.client.get(f"{API}/analyses")
    assert (answer.status_code, reason(answer)) == (500, "INTERNAL")
    assert [each["event"] for each in logs] == ["http.unexpected_error", "http.call"]
    assert "secret" not in answer.text


@pytest.mark.parametrize(
    "path", ["/", "/api", f"{API}/", f"{API}/analyses/", f"{API}/analyses/a/b", f"{API}/nothing", "/api/v2/search"]
)
async def test_an_unknown_route(running: Running, path: str) -> None:
    answer = await running.client.get(path)
    assert (answer.status_code, reason(answer)) == (404, "UNKNOWN_ROUTE")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PATCH", f"{API}/analyses", "GET, HEAD, POST"),
        ("GET", f"{API}/analyses/a-0:cancel", "POST"),
        ("POST", f"{API}/analyses/a-0/media", "HEAD, PUT"),
        ("GET", f"{API}/analyses/a-0/media", "HEAD, PUT"),
        ("OPTIONS", f"{API}/search", "GET, HEAD, POST"),
    ],
)
async def test_a_wrong_method(running: Running, method: str, path: str, allow: str) -> None:
    answer = await running.client.request(method, path)
    assert (answer.status_code, reason(answer), answer.headers["allow"]) == (405, "METHOD_NOT_ALLOWED", allow)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"config": {"priority": "high"}}', "config.priority"),
        (b'{"config": {"upload": {"contentLength": 1.5}}}', "config.upload.contentLength"),
        (b'{"config": {"color": 1}}', "config.color"),
        (b'{"config": 5}', "config"),
        (b'{"config": {"labels": {"a": 1}}}', "config.labels"),
        (b'{"config": {"deadline": "tomorrow"}}', "config.deadline"),
        (b'{"dryRun": "true"}', "dryRun"),
        (b'{"\\ud800": 1}', "?"),
    ],
)
async def test_a_body_that_does_not_fit_names_the_field(running: Running, body: bytes, field: str) -> None:
    answer = await running.client.post(f"{API}/analyses", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, reason(answer)) == (400, "INVALID_REQUEST")
    assert field in answer.json()["message"]
    assert answer.json()["details"][0]["metadata"]["field"] == field


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff",
        b"[]",
        b"null",
        b'{"config": {"path": "a", "upload": {}}}',
        b'{"dryRun": true, "dryRun": false}',
        b"[" * 99_999,
    ],
)
async def test_a_body_that_is_no_request(running: Running, body: bytes) -> None:
    answer = await running.client.post(f"{API}/analyses", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, reason(answer)) == (400, "INVALID_REQUEST")
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (f"{API}/analyses?colour=red", "colour"),
        (f"{API}/analyses?page_size=many", "page_size"),
        (f"{API}/analyses?page_size=1&page_size=2", "page_size"),
        (f"{API}/analyses?page_size[a]=1", "page_size[a]"),
        (f"{API}/analyses?labels=a", "labels"),
        (f"{API}/analyses?states=ASLEEP", "states"),
        (f"{API}/search?filter.min_score=x", "filter.min_score"),
        (f"{API}/search?filter.has_face=yes", "filter.has_face"),
        (f"{API}/search?like=a", "like"),
        (f"{API}/analyses/a-0?tenant=x", "tenant"),
        (f"{API}/analyses/a-0/events?after_sequence=-1", "after_sequence"),
        (f"{API}/analyses/a-0/segments?page_token=x", "page_token"),
        (f"{API}/analyses/a-0/segments?thumbnails=0", "thumbnails"),
        (f"{API}/analyses/a-0/export?format=gif", "format"),
    ],
)
async def test_a_parameter_that_does_not_fit_is_named(running: Running, path: str, field: str) -> None:
    await running.analysed()
    answer = await running.client.get(path)
    assert (answer.status_code, reason(answer)) == (400, "INVALID_REQUEST")
    assert answer.json()["details"][0]["metadata"] == {"field": field}


async def test_a_body_above_the_limit(running: Running) -> None:
    big = json.dumps({"config": {"path": "/allowed/" + "x" * MAX_JSON_BYTES}}).encode()

    async def pieces() -> object:
        for start in range(0, len(big), 1 << 16):
            yield big[start : start + (1 << 16)]

    headers = {"content-type": "application/json"}
    for content in (big, pieces()):
        answer = await running.client.post(f"{API}/analyses", content=content, headers=headers)
        assert (answer.status_code, reason(answer)) == (413, "BODY_TOO_LARGE")
    assert not running.analyses.jobs


async def test_another_site_s_page_cannot_post_without_asking(running: Running) -> None:
    """Browsers send these types across sites unasked, but never JSON."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        answer = await running.client.post(
            f"{API}/analyses", content=b'{"config": {"path": "/allowed/x"}}', headers={"content-type": kind}
        )
        assert (answer.status_code, reason(answer)) == (415, "CONTENT_TYPE_NOT_JSON")
    assert not running.analyses.jobs


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01 this is no request\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",  # no Host
        b"POST /api/v1/search HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 70_000,
        b"POST /api/v1/search HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_no_http_gets_an_answer_and_the_server_goes_on(running: Running, sent: bytes) -> None:
    reader, writer = await asyncio.open_unix_connection(running.address.removeprefix("unix:"))
    writer.write(sent)
    head, _, body = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/json" in head
    assert json.loads(body)["details"][0]["reason"] == "INVALID_REQUEST"
    writer.close()
    assert (await running.client.get("/healthz")).status_code == 200


async def test_ids_that_cannot_be(running: Running) -> None:
    for name in ("%00", "a%20b", "%F0%9F%98%80", "x" * 500, "..%2F..%2Fetc"):
        answer = await running.client.get(f"{API}/analyses/{name}")
        assert answer.status_code == 404
        reason(answer)
