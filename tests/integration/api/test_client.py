"""The client bears with servers that go and come back, and reads how a call really ended."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from orchestrator.api import messages as pb
from orchestrator.api.client import AnalysisOptions, ClientError, Patience, connect
from orchestrator.errors import StoreUnavailable

CALLS = 200  # grpc.aio hides the true status of about one such call in twenty


async def deaf(request_iterator: AsyncIterator[pb.AnalyzeRequest], _: object) -> AsyncIterator[pb.AnalyzeResponse]:
    async for _ in request_iterator:
        pass
    yield pb.AnalyzeResponse()


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 4096


async def test_a_write_that_meets_the_deadline_hides_nothing() -> None:
    server = grpc.aio.server()
    method = grpc.stream_stream_rpc_method_handler(
        deaf, pb.AnalyzeRequest.FromString, pb.AnalyzeResponse.SerializeToString
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("reelsift.v1.AnalysisService", {"Analyze": method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    seen = Counter[str]()
    async with connect(f"127.0.0.1:{port}") as client:
        for _ in range(CALLS):
            try:
                async for _ in client.analyze_stream(endless(), AnalysisOptions(timeout=0.02)):
                    pass
            except ClientError as error:
                seen[error.reason] += 1
    await server.stop(None)
    assert seen == {"DEADLINE_EXCEEDED": CALLS}


def logged(responses: list[pb.AnalyzeResponse]) -> list[int]:
    return [response.sequence for response in responses if response.sequence]


async def test_a_watch_goes_on_after_the_server_was_lost(run, fake, events, segments) -> None:
    analyses = fake(script=(events["started"], segments(0)))
    async with run(analyses) as running:
        await running.client.create(AnalysisOptions().config(path="/allowed/clip"))
        got = []

        async def watch() -> None:
            async for response in running.client.watch("a-1"):
                got.append(response)

        watching = asyncio.create_task(watch())
        for index in (1, 2, 3):
            while len(got) < index + 1:
                await asyncio.sleep(0.01)
            await running.stop()
            analyses.extend(segments(index))
            await asyncio.sleep(0.1)
            await running.start()
        analyses.extend(events["finished"])
        await asyncio.wait_for(watching, 10)
    assert logged(got) == [1, 2, 3, 4, 5, 6]
    assert [each.segment.index for each in got if each.HasField("segment")] == [0, 1, 2, 3]
    assert analyses.reads == [0, 2, 3, 4], "each goes on where the one before stopped"


async def test_a_database_that_is_away_for_a_moment_is_waited_for(run, fake) -> None:
    analyses = fake()
    get, tries = analyses.get, 0

    async def flaky(analysis_id: str):
        nonlocal tries
        tries += 1
        if tries < 2:
            raise StoreUnavailable("the database does not answer")
        return await get(analysis_id)

    async with run(analyses) as running:
        await running.client.create(AnalysisOptions().config(path="/allowed/clip"))
        analyses.get = flaky
        assert (await running.client.get("a-1")).analysis_id == "a-1"
    assert tries == 2


async def test_patience_ends(run, fake, events) -> None:
    analyses = fake(script=(events["started"],))
    async with run(analyses) as running, connect(running.address, Patience(0.3, 0.05, 0.05)) as client:
        responses = client.watch(
            (await client.create(AnalysisOptions().config(path="/allowed/clip"))).analysis.analysis_id
        )
        await anext(responses)
        await running.stop()
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(ClientError) as caught:
            await anext(responses)
        assert caught.value.grpc_code == "UNAVAILABLE"
        assert 0.2 < loop.time() - began < 3


async def test_a_server_that_never_answered_is_not_waited_for(tmp_path: Path) -> None:
    async with connect(f"unix:{tmp_path / 'nothing'}") as client:
        for call in (client.get("a-1"), client.create(AnalysisOptions().config(path="/clip")), client.cancel("a-1")):
            with pytest.raises(ClientError) as caught:
                await asyncio.wait_for(call, 3)
            assert caught.value.grpc_code == "UNAVAILABLE"
        with pytest.raises(ClientError):
            await asyncio.wait_for(anext(client.analyze_path("/clip")), 3)


async def test_an_upload_goes_on_where_the_lost_server_had_it(run, fake, tmp_path: Path) -> None:
    path = tmp_path / "clip"
    path.write_bytes(bytes(range(256)) * 4000)
    analyses = fake()
    async with run(analyses) as running:

        async def analyze() -> list[pb.AnalyzeResponse]:
            how = {"chunk_bytes": 4096, "bytes_per_second": 1e6}
            return [response async for response in running.client.analyze_file(path, **how)]

        analyzing = asyncio.create_task(analyze())
        for least in (1, 300_000, 600_000):
            while not analyses.uploads or analyses.uploads[0].state.committed < least:
                await asyncio.sleep(0.01)
            await running.stop()
            await running.start()
        got = await asyncio.wait_for(analyzing, 20)
    assert logged(got) == [1, 2, 3]
    assert analyses.uploads[0].data == path.read_bytes()
    assert len(analyses.records) == 1
    assert [spec.request_id for spec in analyses.specs] == [analyses.specs[0].request_id]
    assert len(analyses.uploads[0].writers) >= 3
    sent = analyses.uploads[0].appends * 4096
    assert sent < path.stat().st_size + 4 * 300_000, "what was acknowledged is not sent again"


async def test_an_upload_on_its_own_goes_on_too(run, fake, tmp_path: Path) -> None:
    path = tmp_path / "clip"
    path.write_bytes(bytes(range(256)) * 2000)
    analyses = fake()
    async with run(analyses) as running:
        config = AnalysisOptions().config(content_length=path.stat().st_size)
        await running.client.create(config)
        uploading = asyncio.create_task(running.client.upload("a-1", path, chunk_bytes=4096, bytes_per_second=1e6))
        while analyses.uploads[0].state.committed < 100_000:
            await asyncio.sleep(0.01)
        await running.stop()
        await running.start()
        told = await asyncio.wait_for(uploading, 10)
        assert (told.committed_bytes, told.complete) == (path.stat().st_size, True)
        assert await running.client.upload("a-1", path) == told
    assert analyses.uploads[0].data == path.read_bytes()


async def test_an_answer_that_is_lost_is_asked_for_again(run, fake) -> None:
    """The server creates the analysis and dies before it can say so."""
    analyses = fake()
    async with run(analyses) as running:
        await running.client.create(AnalysisOptions().config(path="/allowed/clip"))
        create, dying = analyses.create, []

        async def create_and_die(spec):
            answer = await create(spec)
            if not dying:
                dying.append(asyncio.create_task(running.stop()))
                await asyncio.Event().wait()
            return answer

        analyses.create = create_and_die

        async def start() -> None:
            while not dying:
                await asyncio.sleep(0.01)
            await dying[0]
            await running.start()

        starting = asyncio.create_task(start())
        got = [response async for response in running.client.analyze_path("/allowed/other")]
        await starting
    assert logged(got) == [1, 2, 3]
    assert len(analyses.specs) == 3
    assert list(analyses.records) == ["a-1", "a-2"]


async def test_a_bound_analysis_is_not_taken_up_again(run, fake, events) -> None:
    analyses = fake(script=(events["started"],))
    async with run(analyses) as running:
        responses = running.client.analyze_path("/allowed/clip", AnalysisOptions(cancel_on_disconnect=True))
        await anext(responses)
        await running.stop()
        with pytest.raises(ClientError):
            await anext(responses)
    assert analyses.cancelled == ["a-1"]


async def test_bytes_that_come_once_cannot_be_sent_again(run, fake) -> None:
    analyses = fake()

    async def slowly() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"x" * 1000
            await asyncio.sleep(0.01)

    async with run(analyses) as running:
        responses = running.client.analyze_stream(slowly())
        await anext(responses)
        await running.stop()
        await running.start()
        with pytest.raises(ClientError, match="cannot be read again"):
            _ = [response async for response in responses]
    assert not analyses.uploads[0].complete


async def test_an_analysis_that_fails_during_a_resumed_upload_has_the_last_word(
    run, fake, tmp_path: Path, events
) -> None:
    path = tmp_path / "clip"
    path.write_bytes(bytes(1_000_000))
    analyses = fake()
    async with run(analyses) as running:

        async def analyze() -> None:
            async for _ in running.client.analyze_file(path, chunk_bytes=4096, bytes_per_second=2e5):
                pass

        analyzing = asyncio.create_task(analyze())
        while not analyses.uploads or not analyses.uploads[0].state.committed:
            await asyncio.sleep(0.01)
        await running.stop()
        await running.start()
        while len(analyses.uploads[0].writers) < 2:
            await asyncio.sleep(0.01)
        analyses.extend(events["cancelled"])
        with pytest.raises(ClientError) as caught:
            await asyncio.wait_for(analyzing, 5)
    assert (caught.value.reason, caught.value.typed) == ("CANCELLED", True)
