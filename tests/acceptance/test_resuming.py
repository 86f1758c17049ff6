"""A connection, a client or a server is lost, and nothing with it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from orchestrator.api import messages as pb
from orchestrator.api.client import AnalysisOptions, ClientError, ReelsiftClient, connect
from orchestrator.api.gen.reelsift.v1.analysis_pb2_grpc import AnalysisServiceStub
from tests.acceptance.answers import Answer, assert_same, collect
from tests.acceptance.server import Server
from tests.conftest import Film
from tests.media.pathology import GOOD

OPTIONS = AnalysisOptions(analyzers=("shots", "labels"), ignore_known=True)
PIECE = 64 << 10

_whole: list[Answer] = []  # the composite when nothing is lost, once for all tests here


async def whole(client: ReelsiftClient, composite: Film) -> Answer:
    if not _whole:
        _whole.append(await collect(client.analyze_file(composite.path, OPTIONS)))
    return _whole[0]


def logged(responses: list[pb.AnalyzeResponse]) -> list[int]:
    return [each.sequence for each in responses if each.sequence]


CLIENT = """
import asyncio, sys
from pathlib import Path
from orchestrator.api.client import AnalysisOptions, connect
async def main():
    async with connect(sys.argv[1]) as client:
        options = AnalysisOptions(analyzers=("shots", "labels"), ignore_known=True)
        async for response in client.analyze_file(Path(sys.argv[2]), options):
            print(response.SerializeToString().hex(), flush=True)
asyncio.run(main())
"""


async def test_a_client_killed_in_the_midst_finds_exactly_the_rest(
    client: ReelsiftClient, server: Server, composite: Film
) -> None:
    expected = await whole(client, composite)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CLIENT, server.address, composite.path), stdout=asyncio.subprocess.PIPE, limit=1 << 24
    )
    assert process.stdout is not None
    answer = Answer()
    while len(answer.segments) < 3:
        answer.add(pb.AnalyzeResponse.FromString(bytes.fromhex((await process.stdout.readline()).decode())))
    process.kill()
    await process.wait()
    before = len(answer.responses)
    await client.upload(answer.analysis_id, composite.path)  # it may have died before its last byte
    async for response in client.watch(answer.analysis_id, max(logged(answer.responses))):
        answer.add(response)
    assert len(answer.segments) > 3, "the kill was to come in the midst"
    assert logged(answer.responses[before:])[0] == 5
    assert logged(answer.responses) == list(range(1, len(answer.segments) + 3))
    assert_same(answer, expected)
    assert answer.finished.ledger.decoded_frames == composite.truth.frames


async def test_an_upload_that_broke_off_goes_on_at_its_offset(
    client: ReelsiftClient, server: Server, composite: Film
) -> None:
    data = composite.path.read_bytes()
    half = len(data) // 2

    async def pieces(analysis_id: str, first: int, end: int) -> AsyncIterator[pb.UploadMediaRequest]:
        for at in range(first, end, PIECE):
            chunk = pb.UploadChunk(offset=at, data=data[at : min(at + PIECE, end)], last=end == len(data))
            chunk.last = at + PIECE >= len(data)
            yield pb.UploadMediaRequest(analysis_id=analysis_id, chunk=chunk)
        if end < len(data):
            await asyncio.Event().wait()  # and then it breaks

    created = (await client.create(OPTIONS.config(content_length=len(data)))).analysis
    async with grpc.aio.insecure_channel(server.address) as channel:
        call = AnalysisServiceStub(channel).UploadMedia(pieces(created.analysis_id, 0, half))
        while (committed := (await client.get(created.analysis_id)).upload.committed_bytes) < half // 2:
            assert not call.done()
            await asyncio.sleep(0.02)
        call.cancel()
    async with grpc.aio.insecure_channel(server.address) as channel:
        upload = (await client.get(created.analysis_id)).upload
        assert committed <= upload.committed_bytes <= half
        assert not upload.complete
        rest = AnalysisServiceStub(channel).UploadMedia(pieces(created.analysis_id, upload.committed_bytes, len(data)))
        told = (await rest).upload
    assert (told.committed_bytes, told.complete) == (len(data), True)
    assert_same(await collect(client.watch(created.analysis_id)), await whole(client, composite))


async def test_the_same_request_makes_one_analysis_however_often_it_is_sent(
    client: ReelsiftClient, tmp_path: Path
) -> None:
    path = GOOD.build(tmp_path)
    options = AnalysisOptions(analyzers=("keyframe",), request_id="the same", tenant="idempotent")
    config = options.config(content_length=path.stat().st_size)
    answers = await asyncio.gather(*(client.create(config) for _ in range(20)))
    (analysis_id,) = {answer.analysis.analysis_id for answer in answers}
    assert sum(answer.created for answer in answers) == 1
    with pytest.raises(ClientError) as caught:
        await client.create(AnalysisOptions(request_id="the same", tenant="idempotent").config(path="/another"))
    assert caught.value.reason in ("REQUEST_ID_REUSED", "SOURCE_NOT_ALLOWED")
    analysed = await collect(client.analyze_file(path, options))
    again = await collect(client.analyze_file(path, options))
    assert analysed.analysis_id == again.analysis_id == analysis_id
    assert_same(analysed, again)
    listed = [each.analysis_id async for each in client.list(pb.ListAnalysesRequest(tenant="idempotent"))]
    assert listed == [analysis_id]


async def test_a_server_killed_in_the_midst_goes_on_and_so_does_its_client(
    composite: Film, client: ReelsiftClient
) -> None:
    expected = await whole(client, composite)
    server = Server()
    try:
        async with connect(server.address) as own:
            answer = Answer()
            slowly = composite.nbytes / 8  # bytes a second: when it is killed, it cannot be done
            async for response in own.analyze_file(composite.path, OPTIONS, bytes_per_second=slowly):
                answer.add(response)
                if len(answer.segments) == 3 and response.HasField("segment"):
                    await asyncio.to_thread(server.crash)
            analysis = await own.get(answer.analysis_id)
    finally:
        server.stop()
    assert logged(answer.responses) == list(range(1, len(answer.segments) + 3))
    assert_same(answer, expected)
    assert (analysis.attempt_count, analysis.segment_count) == (2, len(answer.segments))
    assert analysis.state == pb.AnalysisState.ANALYSIS_STATE_SUCCEEDED
