"""Uploads: results while bytes still arrive, and what happens when either side stops."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import av
import grpc
import pytest

from orchestrator.api import messages as pb
from orchestrator.api.client import AnalysisOptions, ClientError, ReelsiftClient, connect, read_chunks
from orchestrator.api.gen.reelsift.v1.analysis_pb2_grpc import AnalysisServiceStub
from tests.acceptance.answers import Answer, assert_same, collect
from tests.acceptance.conftest import Run
from tests.acceptance.server import Server
from tests.conftest import Film
from tests.media import isobmff
from tests.media.pathology import GOOD

ANEW = AnalysisOptions(ignore_known=True)  # other tests have analysed the same film
AT_ONCE = 1.0  # seconds within which a stopped analysis has let go of its decoder
CHUNK = 64 << 10
WINDOW = 64 << 10  # what HTTP/2 lets a server send to a stream that nobody reads (RFC 9113, 6.9.2)


async def test_segments_arrive_while_a_faststart_file_is_uploaded_in_real_time(
    run: Run, client: ReelsiftClient, composite: Film
) -> None:
    data = composite.path.read_bytes()
    assert isobmff.find(data, "moov").start < isobmff.find(data, "mdat").start
    sent = 0

    async def counted() -> AsyncIterator[bytes]:
        nonlocal sent
        async for piece in read_chunks(composite.path, CHUNK, composite.nbytes / composite.seconds):
            yield piece
            sent += len(piece)

    answer, sent_at_segment = Answer(), []
    began = time.monotonic()
    async for response in client.analyze_stream(counted(), ANEW, content_length=composite.nbytes):
        answer.add(response)
        if response.HasField("segment"):
            sent_at_segment.append(sent)
    assert time.monotonic() - began >= composite.seconds - 1, "it was to take as long as the film"
    assert sent_at_segment[0] < composite.nbytes / 2, sent_at_segment
    assert answer.acknowledged[-1] == composite.nbytes
    assert len(answer.acknowledged) > 10
    assert all(before < after for before, after in pairwise(answer.acknowledged))
    assert_same(answer, run.answer)


async def test_a_file_with_its_index_at_the_end_gives_the_same(
    run: Run, client: ReelsiftClient, composite: Film, tmp_path: Path
) -> None:
    path = tmp_path / "tail.mp4"
    with av.open(str(composite.path)) as source, av.open(str(path), "w") as copy:
        stream = copy.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                copy.mux(packet)
    data = path.read_bytes()
    assert isobmff.find(data, "moov").start > isobmff.find(data, "mdat").start
    answer = await collect(client.analyze_file(path, ANEW))
    assert answer.acknowledged[-1] == len(data)
    assert_same(answer, run.answer)


async def test_a_watcher_gets_the_same_rest_from_any_point(client: ReelsiftClient, tmp_path: Path) -> None:
    options = AnalysisOptions(profile="every_frame")
    analysed = await collect(client.analyze_file(GOOD.build(tmp_path), options))
    assert len(analysed.segments) > 1

    def plain(responses: list[pb.AnalyzeResponse]) -> list[bytes]:
        """Without the time at which each was sent, and without progress, which is not logged."""
        copies = [pb.AnalyzeResponse.FromString(each.SerializeToString()) for each in responses]
        copies = [each for each in copies if not each.HasField("progress")]
        for each in copies:
            each.ClearField("create_time")
        return [each.SerializeToString(deterministic=True) for each in copies]

    logged = [each for each in analysed.responses if each.sequence]
    last = logged[-1].sequence
    for after in (0, 1, last // 2, last - 1):
        watched = await collect(client.watch(analysed.analysis_id, after))
        assert plain(watched.responses) == plain([each for each in logged if each.sequence > after])
        assert watched.finished
    assert not (await collect(client.watch(analysed.analysis_id, last))).responses


async def begun(responses: AsyncIterator[pb.AnalyzeResponse], server: Server) -> str:
    """Read until the decoder is at work; returns the analysis' id."""
    async for response in responses:
        if response.HasField("started"):
            assert server.busy_decoders(), "the control: a busy decoder can be seen"
            return response.analysis_id
    raise AssertionError("it ended before it started")


async def assert_ends_as(client: ReelsiftClient, analysis_id: str, reason: str) -> None:
    with pytest.raises(ClientError) as caught:
        await asyncio.wait_for(collect(client.watch(analysis_id)), AT_ONCE)
    assert caught.value.reason == reason


async def test_cancelling_stops_the_work_at_once(server: Server, client: ReelsiftClient, composite: Film) -> None:
    responses = client.analyze_file(composite.path, ANEW)
    analysis_id = await begun(responses, server)
    async with connect(server.address) as other:
        await asyncio.wait_for(other.cancel(analysis_id), AT_ONCE)
        server.idle(within=AT_ONCE)
        with pytest.raises(ClientError) as caught:
            await collect(responses)
        assert (caught.value.reason, caught.value.grpc_code) == ("CANCELLED", "CANCELLED")
        await assert_ends_as(other, analysis_id, "CANCELLED")
        await other.cancel(analysis_id)  # once more does nothing


async def test_a_deadline_stops_the_work_at_once(server: Server, client: ReelsiftClient, composite: Film) -> None:
    seconds, began = 3.0, time.monotonic()
    responses = client.analyze_file(
        composite.path, AnalysisOptions(timeout=seconds, ignore_known=True), bytes_per_second=composite.nbytes // 10
    )
    analysis_id = await begun(responses, server)
    with pytest.raises(ClientError) as caught:
        await collect(responses)
    assert caught.value.grpc_code == "DEADLINE_EXCEEDED"
    assert seconds - 0.1 <= time.monotonic() - began < seconds + AT_ONCE
    server.idle(within=AT_ONCE)
    await assert_ends_as(client, analysis_id, "DEADLINE_EXCEEDED")


VANISHING = """
import asyncio, sys
from pathlib import Path
from orchestrator.api.client import AnalysisOptions, connect
async def main():
    async with connect(sys.argv[1]) as client:
        options = AnalysisOptions(cancel_on_disconnect=True, ignore_known=True)
        async for response in client.analyze_file(Path(sys.argv[2]), options, bytes_per_second=int(sys.argv[3])):
            if response.HasField("started"):
                print(response.analysis_id, flush=True)
asyncio.run(main())
"""


async def test_a_client_that_vanishes_takes_an_analysis_bound_to_it_along(
    server: Server, client: ReelsiftClient, composite: Film
) -> None:
    rate = composite.nbytes // 20
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", VANISHING, server.address, composite.path, str(rate)), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    analysis_id = (await process.stdout.readline()).decode().strip()
    assert len(server.busy_decoders()) == 1
    process.kill()
    await process.wait()
    server.idle(within=AT_ONCE)
    await assert_ends_as(client, analysis_id, "CANCELLED")


@pytest.mark.parametrize(("timeout", "reason"), [(None, "UNSUPPORTED_FORMAT"), (0.1, "DEADLINE_EXCEEDED")])
async def test_an_end_in_the_midst_of_an_upload_is_told_as_what_it_is(
    client: ReelsiftClient, composite: Film, tmp_path: Path, timeout: float | None, reason: str
) -> None:
    """A write that meets the end of its call must not hide the server's status; without care it does so in one of
    three."""
    text = tmp_path / "text.mp4"
    text.write_bytes(b"All work and no play.\n" * 500_000)
    path = composite.path if timeout else text
    options = AnalysisOptions(analyzers=("keyframe",), timeout=timeout, ignore_known=True)
    for _ in range(20):
        with pytest.raises(ClientError) as caught:
            await collect(client.analyze_file(path, options, chunk_bytes=4096, bytes_per_second=1e7))
        assert caught.value.reason == reason


async def test_stopped_analyses_give_their_memory_back(
    server: Server, client: ReelsiftClient, composite: Film, tmp_path: Path
) -> None:
    """Two of these fill the arena: were its slots lost, those to come would wait for ever."""
    for _ in range(5):
        responses = client.analyze_file(composite.path, ANEW)
        analysis_id = await asyncio.wait_for(begun(responses, server), 20)
        await client.cancel(analysis_id)
        await responses.aclose()  # type: ignore[attr-defined]
    server.idle(within=AT_ONCE)
    answer = await asyncio.wait_for(collect(client.analyze_file(GOOD.build(tmp_path), ANEW)), 60)
    assert not answer.finished.partial


async def test_a_reader_that_does_not_read_holds_nobody(
    server: Server, client: ReelsiftClient, composite: Film
) -> None:
    """The pipeline writes to the log; each stream reads from there."""
    data = composite.path.read_bytes()

    async def requests() -> AsyncIterator[pb.AnalyzeRequest]:
        config = pb.AnalysisConfig(upload=pb.Upload(), analyzers=["shots", "keyframe", "similarity"], ignore_known=True)
        yield pb.AnalyzeRequest(config=config)
        for at in range(0, len(data), 1 << 20):
            yield pb.AnalyzeRequest(chunk=pb.UploadChunk(offset=at, data=data[at : at + (1 << 20)]))
        yield pb.AnalyzeRequest(chunk=pb.UploadChunk(offset=len(data), last=True))

    async with grpc.aio.insecure_channel(server.address, options=[("grpc.http2.bdp_probe", 0)]) as channel:
        call = AnalysisServiceStub(channel).Analyze(requests())
        first = await call.read()
        watched = await asyncio.wait_for(collect(client.watch(first.analysis_id)), 60)
        assert sum(each.ByteSize() for each in watched.responses) > 3 * WINDOW, "more than a window holds"
        assert watched.finished.segment_count == len(watched.segments)
        assert any(each.HasField("progress") for each in watched.responses), "it was to join in the midst"
        server.idle(within=AT_ONCE)
        slow = Answer()
        slow.add(first)
        while (response := await call.read()) is not grpc.aio.EOF:
            slow.add(response)
    assert_same(slow, watched)
