"""The durable service over a real store, with scripted media: what is accepted ends, once, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.core.jobs import AnalysisFilter, AnalysisState, RetryFrom
from orchestrator.core.results import Failed, SegmentClosed
from orchestrator.errors import (
    AnalysisNotEnded,
    DecoderCrashed,
    DiskFull,
    Draining,
    FailedPrecondition,
    InferenceUnavailable,
    MediaUnreadable,
    NotFound,
    QueueFull,
    RequestIdReused,
    SourceGone,
)
from orchestrator.pipeline import runner
from orchestrator.pipeline.service import AnalysisService
from tests.support.fakes import media
from tests.support.services import (
    FRAMES,
    SOON,
    UPLOAD,
    Bench,
    make_bench,
    overwrite,
    read,
    spec,
    wait_for,
    whole,
)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return make_bench(tmp_path, monkeypatch)


async def test_an_analysis_runs_to_its_end_and_any_part_of_its_log_can_be_read_again(bench: Bench) -> None:
    async with bench.service() as analyses:
        record, created = await analyses.create(spec(bench.file()))
        assert (created, record.state) == (True, AnalysisState.QUEUED)
        log = await read(analyses, record.id)
        assert whole(log)
        assert await read(analyses, record.id, after=3) == log[3:]
        assert await read(analyses, record.id, after=6) == []
        done = await analyses.get(record.id)
        assert (done.state, done.segments, done.attempts) == (AnalysisState.SUCCEEDED, 4, 1)
        assert done.result == log[-1][1]
        with pytest.raises(NotFound):
            await read(analyses, "nobody")


async def test_a_request_id_makes_one_analysis(bench: Bench) -> None:
    async with bench.service() as analyses:
        asked = spec(bench.file(), request_id="r")
        answers = await asyncio.gather(*(analyses.create(asked) for _ in range(20)))
        assert len({record.id for record, _ in answers}) == 1
        assert sum(created for _, created in answers) == 1
        with pytest.raises(RequestIdReused):
            await analyses.create(replace(asked, priority=1))


async def test_a_new_process_goes_on_from_the_last_segment(bench: Bench) -> None:
    gate = bench.decoder.gates[75] = asyncio.Event()
    async with bench.service() as analyses:
        record, _ = await analyses.create(spec(bench.file()))
        watcher = aiter(analyses.events(record.id))
        seen = [await anext(watcher) for _ in range(3)]
        await watcher.aclose()  # type: ignore[attr-defined]
    gate.set()
    async with bench.service() as analyses:
        log = await read(analyses, record.id)
        done = await analyses.get(record.id)
    assert whole(log)
    assert log[:3] == seen
    assert done.attempts == 2
    labels = [v.label for _, e in log if isinstance(e, SegmentClosed) for v in e.segment.annotations[0].value]
    assert labels == [str(n) for n in range(FRAMES)]


async def test_what_was_away_is_tried_again_and_what_is_our_fault_twice(bench: Bench) -> None:
    async with bench.service() as analyses:
        bench.decoder.failures = [InferenceUnavailable("away"), InferenceUnavailable("away")]
        record, _ = await analyses.create(spec(bench.file(b"1")))
        assert whole(await read(analyses, record.id))
        bench.decoder.failures = [DecoderCrashed("again and again"), ValueError("a bug")]
        record, _ = await analyses.create(spec(bench.file(b"2")))
        (_, failed) = (await read(analyses, record.id))[-1]
        assert (failed.reason, failed.grpc_code) == ("INTERNAL", "INTERNAL")
        assert (await analyses.get(record.id)).state is AnalysisState.QUARANTINED
        bench.decoder.failures = [DecoderCrashed("once")]
        record, _ = await analyses.create(spec(bench.file(b"3")))
        assert whole(await read(analyses, record.id))


async def test_each_attempt_is_pinned_to_versions_and_goes_on_at_once_without_one_that_was_rolled_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "PAUSE_SECONDS", (3600.0,))
    async with bench.service() as analyses:
        bench.inference.withdrawals = 10
        record, _ = await analyses.create(spec(bench.file()))
        assert whole(await read(analyses, record.id))
        ended = await analyses.get(record.id)
        assert ended.attempts > 2
        assert ended.strikes == 0
        assert bench.inference.pins == [record.id] * ended.attempts
        assert bench.inference.pinned_now == 0


async def test_bad_media_is_the_clients_and_ends_it_at_once(bench: Bench) -> None:
    bench.decoder.failures = [MediaUnreadable("no frame")]
    async with bench.service() as analyses:
        record, _ = await analyses.create(spec(bench.file()))
        _, (_, failed) = await read(analyses, record.id)
        assert isinstance(failed, Failed)
        assert failed.reason == "MEDIA_UNREADABLE"
        done = await analyses.get(record.id)
        assert (done.state, done.attempts, done.failure) == (AnalysisState.FAILED, 1, failed)


async def test_cancelling_ends_what_waits_and_what_runs(bench: Bench) -> None:
    bench.decoder.gates[25] = asyncio.Event()
    async with bench.service(running=1) as analyses:
        running, _ = await analyses.create(spec(bench.file(b"1")))
        await wait_for(analyses, running.id, AnalysisState.RUNNING)
        waiting, _ = await analyses.create(spec(bench.file(b"2")))
        for each in (waiting, running):
            ended = await asyncio.wait_for(analyses.cancel(each.id), SOON)
            assert ended.state is AnalysisState.CANCELLED
            assert (await read(analyses, each.id))[-1][1].reason == "CANCELLED"
            assert await analyses.cancel(each.id) == ended


async def test_a_deadline_ends_what_waits_and_what_runs(bench: Bench) -> None:
    bench.decoder.gates[25] = asyncio.Event()
    soon = datetime.now(UTC) + timedelta(seconds=1.5)
    async with bench.service(running=1) as analyses:
        running, _ = await analyses.create(spec(bench.file(b"1"), deadline=soon))
        await wait_for(analyses, running.id, AnalysisState.RUNNING)
        waiting, _ = await analyses.create(spec(bench.file(b"2"), deadline=soon))
        for each in (running, waiting):
            assert (await read(analyses, each.id))[-1][1].reason == "DEADLINE_EXCEEDED"


async def test_the_queue_is_bounded_and_a_draining_server_takes_nothing(bench: Bench) -> None:
    bench.decoder.gates[25] = asyncio.Event()
    async with bench.service(running=1, waiting=1) as analyses:
        for content in (b"1", b"2"):
            await analyses.create(spec(bench.file(content)))
        with pytest.raises(QueueFull):
            await analyses.create(spec(bench.file(b"3")))
        await analyses.drain(0)
        with pytest.raises(Draining):
            await analyses.create(spec(bench.file(b"3")))
    async with bench.service() as analyses:  # both go on
        bench.decoder.gates[25].set()
        for record in (await analyses.list(AnalysisFilter(), 10)).records:
            assert whole(await read(analyses, record.id))


async def send(of: AnalysisService, analysis_id: str, data: bytes, *, finish: bool = True) -> None:
    writer = await of.upload(analysis_id)
    try:
        await writer.append(writer.committed, data)
        await (writer.finish() if finish else writer.sync())
    finally:
        writer.close()


async def test_an_upload_goes_on_where_its_bytes_are_on_disk(bench: Bench) -> None:
    async with bench.service() as analyses:
        record, _ = await analyses.create(spec(UPLOAD))
        writer = await analyses.upload(record.id)
        await writer.append(0, b"abc")
        await writer.sync()
        await writer.append(3, b"lost")
        writer.close()
    async with bench.service() as analyses:
        assert (await analyses.get(record.id)).upload.committed == 3
        await send(analyses, record.id, b"def")
        assert whole(await read(analyses, record.id))
        (stored,) = (bench.folder / "uploads").iterdir()
        assert stored.read_bytes() == b"abcdef"
        with pytest.raises(FailedPrecondition):
            await analyses.upload(record.id)


async def test_an_upload_nobody_writes_holds_no_place(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "IDLE_SECONDS", 0.1)
    bench.decoder.gates[25] = asyncio.Event()
    async with bench.service(running=1) as analyses:
        idle, _ = await analyses.create(spec(UPLOAD))
        await send(analyses, idle.id, b"abc", finish=False)
        writer = await analyses.upload(idle.id)
        await wait_for(analyses, idle.id, AnalysisState.RUNNING)
        await wait_for(analyses, idle.id, AnalysisState.QUEUED)
        bench.decoder.gates[25].set()
        other, _ = await analyses.create(spec(bench.file()))
        assert whole(await read(analyses, other.id))
        await writer.append(3, b"def")
        await writer.finish()
        writer.close()
        assert whole(await read(analyses, idle.id))


async def test_the_same_bytes_are_not_analysed_twice_unless_asked(bench: Bench) -> None:
    async with bench.service() as analyses:
        first, _ = await analyses.create(spec(bench.file()))
        log = await read(analyses, first.id)
        bench.inference.requests.clear()
        second, _ = await analyses.create(spec(bench.file()))
        again = await read(analyses, second.id)
        assert again[0][1] == replace(log[0][1], reused=("grays",), reused_from=first.id, decoder="")
        assert again[1:-1] == log[1:-1]
        assert not bench.inference.requests
        assert bench.decoder.opened == 1
        third, _ = await analyses.create(spec(bench.file(), reuse=False))
        assert await read(analyses, third.id) is not None
        assert bench.decoder.opened == 2
        assert (await analyses.get(second.id)).reuse is not None


async def test_a_file_that_was_changed_is_another(bench: Bench) -> None:
    async with bench.service() as analyses:
        source = bench.file()
        first, _ = await analyses.create(spec(source))
        await read(analyses, first.id)
        overwrite(source, b"two")
        second, _ = await analyses.create(spec(source))
        assert (await read(analyses, second.id))[0][1].reused == ()
        bench.decoder.gates[25] = asyncio.Event()
        third, _ = await analyses.create(spec(source, reuse=False))
        await wait_for(analyses, third.id, AnalysisState.RUNNING)
    overwrite(source, b"six")
    async with bench.service() as analyses:
        assert (await read(analyses, third.id))[-1][1].reason == "SOURCE_CHANGED"


async def test_a_retry_is_a_new_analysis_of_the_same_source(bench: Bench) -> None:
    async with bench.service() as analyses:
        record, _ = await analyses.create(spec(UPLOAD))
        with pytest.raises(AnalysisNotEnded):
            await analyses.retry(record.id, RetryFrom.WHOLE)
        with pytest.raises(AnalysisNotEnded):
            await analyses.delete(record.id)
        await send(analyses, record.id, b"abc")
        log = await read(analyses, record.id)
        retried = await analyses.retry(record.id, RetryFrom.WHOLE)
        assert retried.spec.retry_of == record.id
        assert (await read(analyses, retried.id))[1:-1] == log[1:-1]
        assert bench.decoder.opened == 2
        await analyses.delete(record.id)
        assert list((bench.folder / "uploads").iterdir())
        await analyses.delete(retried.id)
        assert not list((bench.folder / "uploads").iterdir())
        with pytest.raises(NotFound):
            await analyses.get(record.id)


async def test_without_its_bytes_nothing_can_be_retried(bench: Bench) -> None:
    async with bench.service() as analyses:
        record, _ = await analyses.create(spec(UPLOAD))
        await send(analyses, record.id, b"abc")
        await read(analyses, record.id)
        for stored in (bench.folder / "uploads").iterdir():
            stored.unlink()
        with pytest.raises(SourceGone):
            await analyses.retry(record.id, RetryFrom.WHOLE)


async def test_a_full_disk_refuses_new_work_and_pauses_the_old(bench: Bench) -> None:
    gate = bench.decoder.gates[50] = asyncio.Event()
    async with bench.service() as analyses:
        record, _ = await analyses.create(spec(bench.file()))
        await wait_for(analyses, record.id, AnalysisState.RUNNING)
        bench.free = 10
        gate.set()
        with pytest.raises(DiskFull):
            await analyses.create(spec(bench.file()))
        await asyncio.sleep(0.1)
        assert (await analyses.get(record.id)).state is AnalysisState.RUNNING
        bench.free = 1 << 30
        assert whole(await read(analyses, record.id))


async def test_a_dry_run_says_what_would_be_and_makes_nothing(bench: Bench) -> None:
    async with bench.service() as analyses:
        estimate = await analyses.estimate(spec(bench.file()))
        assert (estimate.analyzers, estimate.processing_ns, estimate.waiting_ns) == (("grays",), None, 0)
        assert estimate.media == media()
        assert (await analyses.list(AnalysisFilter(), 10)).records == ()
        record, _ = await analyses.create(spec(bench.file()))
        await read(analyses, record.id)
        estimate = await analyses.estimate(spec(bench.file()))
        assert estimate.reusable == ("grays",)


async def test_a_long_analysis_lets_a_short_one_through(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.core.scheduling.QUANTUM_SECONDS", 0.05)
    gates: Mapping[int, asyncio.Event] = {through: asyncio.Event() for through in (25, 50)}
    bench.decoder.gates.update(gates)
    async with bench.service(running=1) as analyses:
        long, _ = await analyses.create(spec(bench.file(b"1")))
        await wait_for(analyses, long.id, AnalysisState.RUNNING)
        await asyncio.sleep(0.1)
        short, _ = await analyses.create(spec(bench.file(b"2")))
        await asyncio.sleep(0.1)  # it waits for a segment's end
        assert (await analyses.get(short.id)).state is AnalysisState.QUEUED
        gates[25].set()
        await wait_for(analyses, short.id, AnalysisState.RUNNING)
        assert (await analyses.get(long.id)).segments == 1
        gates[50].set()
        for each in (short, long):
            assert whole(await read(analyses, each.id))
