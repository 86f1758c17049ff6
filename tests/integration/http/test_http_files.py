"""Pictures and exported files."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from orchestrator.api.gen.reelsift.v1.analysis_pb2 import ExportFormat
from orchestrator.core.exporting import FORMATS
from tests.integration.http.conftest import Running
from tests.integration.http.scripted import JPEG

API = "/api/v1"

pytestmark = pytest.mark.asyncio(loop_scope="module")  # one server for all


async def test_a_picture_is_loaded_once(running: Running) -> None:
    name = await running.analysed()
    url = f"{API}/analyses/{name}/segments/2/thumbnail"
    first = await running.client.get(url)
    assert (first.status_code, first.headers["content-type"], first.content) == (200, "image/jpeg", JPEG)
    tag = first.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await running.client.get(url, headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert (await running.client.get(url, headers={"If-None-Match": '"other"'})).status_code == 200


@pytest.mark.parametrize("index", ["3", "-1", "x", "1e1", "²", "9" * 5000])
async def test_a_picture_that_is_not_there(running: Running, index: str) -> None:
    name = await running.analysed()
    assert (await running.client.get(f"{API}/analyses/{name}/segments/{index}/thumbnail")).status_code == 404


async def test_every_format_of_the_protocol_has_a_file() -> None:
    names = {name.removeprefix("EXPORT_FORMAT_").lower() for name in ExportFormat.keys()} - {"unspecified"}  # noqa: SIM118
    assert names == set(FORMATS)


@pytest.mark.parametrize("file_format", sorted(FORMATS))
async def test_an_export_is_a_file(running: Running, file_format: str) -> None:
    name = await running.analysed()
    answer = await running.client.get(f"{API}/analyses/{name}/export", params={"format": file_format})
    assert (answer.status_code, answer.content) == (200, b"first,second")
    kind = FORMATS[file_format]
    assert answer.headers["content-type"].partition(";")[0] == kind.media_type
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}{kind.suffix}"'
    assert running.analyses.exported == [file_format]


async def test_an_export_of_what_still_runs_is_refused(running: Running) -> None:
    name = await running.uploading()
    assert (await running.client.get(f"{API}/analyses/{name}/export?format=csv")).status_code == 409


async def test_half_a_file_does_not_look_whole(running: Running) -> None:
    name = await running.analysed()
    running.analyses.export_breaks = RuntimeError("gone")
    reader, writer = await asyncio.open_unix_connection(running.address.removeprefix("unix:"))
    writer.write(f"GET {API}/analyses/{name}/export?format=csv HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    with structlog.testing.capture_logs():
        told = await asyncio.wait_for(reader.read(), 5)  # up to the end of the connection
    writer.close()
    assert b"first," in told
    assert b"chunked" in told
    assert not told.endswith(b"0\r\n\r\n"), "the last chunk would say that it is whole"
