"""What every analysis store promises to runners: leases, commits, ends, and that it all lasts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.adapters.stores.sql import SqlAnalysisStore, open_store
from orchestrator.core.jobs import (
    AnalysisState,
    Lease,
    UploadState,
)
from orchestrator.core.results import SegmentClosed
from orchestrator.errors import (
    AnalysisNotEnded,
    FailedPrecondition,
    InternalError,
    LeaseLost,
    NotFound,
)
from orchestrator.ports import AnalysisStore
from tests.support.store_values import (
    DAWN,
    FAILED,
    FINISHED,
    MEDIA,
    PATH,
    STARTED,
    UPLOAD,
    Clock,
    checkpoint,
    ended,
    running,
    segment,
    spec,
)


@pytest.fixture
async def store(store_target: str | Path) -> AsyncIterator[AnalysisStore]:
    async with open_store(store_target, clock=Clock()) as opened:
        yield opened


# --- leases ----------------------------------------------------------------------------------------------------------


async def test_of_many_claims_one_wins(store: AnalysisStore) -> None:
    await store.create("one", PATH, limit=1)
    claims = await asyncio.gather(*(store.claim("one", f"runner{number}") for number in range(10)))
    won = [lease for lease in claims if lease]
    assert len(won) == 1
    record = await store.get("one")
    assert (record.state, record.attempts) == (AnalysisState.RUNNING, 1)
    assert record.start_time is not None
    assert await store.leases() == {won[0]: 0}


async def test_beats_are_counted(store: AnalysisStore) -> None:
    lease = await running(store)
    before = (await store.leases())[lease]
    record = await store.beat(lease)
    assert record == await store.get("one")
    assert (await store.leases())[lease] == before + 1


async def test_a_committed_segment_is_a_sign_of_life(store: AnalysisStore) -> None:
    lease = await running(store)
    before = (await store.leases())[lease]
    await store.commit_segment(lease, segment(0), checkpoint(0))
    assert (await store.leases())[lease] > before


async def test_a_requeued_analysis_goes_on_where_it_stopped(store: AnalysisStore) -> None:
    lease = await running(store, segments=2)
    await store.requeue(lease, reason="DRAIN")
    record = await store.get("one")
    assert (record.state, record.segments, record.strikes, record.interruptions) == (AnalysisState.QUEUED, 2, 0, 0)
    again = await store.claim("one", "another")
    assert again is not None
    assert again.token > lease.token
    assert await store.begin(again, replace(STARTED, profile="another"), None) == 1
    assert await store.commit_segment(again, segment(2, final=True), checkpoint(2)) == 4
    log = await store.read("one")
    assert log == [(1, STARTED), *((index + 2, SegmentClosed(segment(index, final=index == 2))) for index in range(3))]
    assert (await store.get("one")).attempts == 2
    assert (await store.get("one")).start_time == record.start_time


async def test_strikes_and_interruptions_are_counted_apart(store: AnalysisStore) -> None:
    await store.requeue(await running(store), reason="INTERNAL", strike=True)
    for _ in range(2):
        lease = await store.claim("one", "runner")
        assert lease is not None
        await store.requeue(lease, reason="INTERRUPTED")
    record = await store.get("one")
    assert (record.strikes, record.interruptions, record.attempts) == (1, 2, 3)
    lease = await store.claim("one", "runner")
    assert lease is not None
    await store.commit_segment(lease, segment(0), checkpoint(0))
    assert (await store.get("one")).interruptions == 0  # it got on


async def test_every_write_of_a_lost_lease_is_refused_and_changes_nothing(store: AnalysisStore) -> None:
    old = await running(store, segments=1)
    await store.requeue(old, reason="INTERRUPTED")

    async def refused(lease: Lease) -> None:
        before, log, beats = await store.get("one"), await store.read("one"), await store.leases()
        for call in (
            store.beat(lease),
            store.begin(lease, STARTED, None),
            store.commit_segment(lease, segment(1), checkpoint(1)),
            store.end(lease, FINISHED, AnalysisState.SUCCEEDED),
            store.requeue(lease, reason="DRAIN"),
        ):
            with pytest.raises(LeaseLost):
                await call
        assert (await store.get("one"), await store.read("one"), await store.leases()) == (before, log, beats)

    await refused(old)  # while it waits
    new = await store.claim("one", "runner")  # the same owner: only the token differs
    assert new is not None
    await refused(old)  # while another runs
    await store.end(new, FAILED, AnalysisState.FAILED)
    await refused(old)
    await refused(new)  # once it has ended
    await refused(replace(new, analysis_id="none"))  # and when there is none


async def test_a_shared_store_reclaims_nothing_and_the_embedded_one_all(store: AnalysisStore) -> None:
    await running(store, "one")
    await store.create("two", PATH, limit=9)
    if store.shared:
        assert await store.reclaim() == []
        assert (await store.get("one")).state is AnalysisState.RUNNING
    else:
        assert await store.reclaim() == ["one"]
        record = await store.get("one")
        assert (record.state, record.interruptions, record.strikes) == (AnalysisState.QUEUED, 1, 0)
        assert await store.leases() == {}


async def test_the_queue_is_by_priority_then_age(store: AnalysisStore) -> None:
    asked = {"a": 0, "b": 5, "c": 0, "d": 5}
    for name, priority in asked.items():
        await store.create(name, spec(priority=priority), limit=9)
    assert "".join(each.id for each in await store.queued()) == "bdac"
    await store.claim("b", "me")
    await store.request_cancel("a")
    assert "".join(each.id for each in await store.queued()) == "dc"


async def test_a_tenant_with_a_long_queue_hides_no_other(store: AnalysisStore) -> None:
    for number in range(6):
        await store.create(f"many{number}", spec(tenant="many", priority=9), limit=99)
    await store.create("few", spec(tenant="few"), limit=99)
    assert [each.id for each in await store.queued(3)] == ["many0", "many1", "few"]


async def test_the_queue_tells_what_a_scheduler_weighs(store: AnalysisStore) -> None:
    await store.create("file", spec(tenant="t", priority=3, deadline=DAWN), limit=9)
    await store.create("upload", UPLOAD, limit=9)
    await store.set_upload("upload", UploadState(7))
    await store.requeue(await running(store, "begun", segments=2), reason="DRAIN")
    await store.set_upload("upload", UploadState(9, True))
    file, upload, begun = await store.queued()
    assert (file.id, file.tenant, file.priority, file.cost, file.deadline) == ("file", "t", 3, 1000, DAWN)
    assert file.source == PATH.source
    assert file.create_time == (await store.get("file")).create_time
    assert (upload.id, upload.cost, upload.upload) == ("upload", 9, UploadState(9, True))
    assert (begun.id, begun.segments, begun.cancel_requested) == ("begun", 2, False)


# --- committing ------------------------------------------------------------------------------------------------------


async def test_the_log_is_gapless_and_read_by_cursor(store: AnalysisStore) -> None:
    lease = await running(store, segments=5)
    assert await store.end(lease, FINISHED, AnalysisState.SUCCEEDED) == 7
    log = await store.read("one")
    assert [position for position, _ in log] == [1, 2, 3, 4, 5, 6, 7]
    assert [event for _, event in log] == [STARTED, *(SegmentClosed(segment(index)) for index in range(5)), FINISHED]
    for after in range(9):
        for limit in (1, 2, 9):
            assert await store.read("one", after, limit) == log[after : after + limit]


async def test_a_record_tells_how_far_its_analysis_is(store: AnalysisStore) -> None:
    lease = await running(store, segments=2)
    record = await store.get("one")
    assert (record.segments, record.last_sequence, record.media) == (2, 3, MEDIA)
    await store.end(lease, FINISHED, AnalysisState.SUCCEEDED)
    record = await store.get("one")
    assert (record.state, record.last_sequence, record.result) == (AnalysisState.SUCCEEDED, 4, FINISHED)
    assert record.end_time is not None


async def test_segments_are_committed_in_order_and_once(store: AnalysisStore) -> None:
    lease = await running(store, segments=1)
    for index in (2, 0):
        with pytest.raises(InternalError):
            await store.commit_segment(lease, segment(index, mark="other"), checkpoint(index))
    with pytest.raises(InternalError):
        await store.commit_segment(lease, segment(1), checkpoint(2))
    assert await store.segments("one") == [segment(0)]


async def test_a_commit_whose_answer_was_lost_may_be_repeated(store: AnalysisStore) -> None:
    lease = await running(store, segments=2)
    assert await store.commit_segment(lease, segment(1), checkpoint(1)) == 3
    assert (await store.get("one")).segments == 2
    for wrong in ((segment(1, mark="other"), checkpoint(1)), (segment(1), checkpoint(1, forget=False))):
        with pytest.raises(InternalError):
            await store.commit_segment(lease, *wrong)


async def test_nothing_is_committed_before_the_start(store: AnalysisStore) -> None:
    await store.create("one", PATH, limit=1)
    lease = await store.claim("one", "me")
    assert lease is not None
    with pytest.raises(InternalError):
        await store.commit_segment(lease, segment(0), checkpoint(0))
    with pytest.raises(InternalError):
        await store.end(lease, FINISHED, AnalysisState.SUCCEEDED)
    assert await store.end(lease, FAILED, AnalysisState.FAILED) == 1
    assert await store.read("one") == [(1, FAILED)]


async def test_an_event_and_a_state_that_contradict_each_other_are_refused(store: AnalysisStore) -> None:
    lease = await running(store)
    for event, state in (
        (FINISHED, AnalysisState.FAILED),
        (FAILED, AnalysisState.SUCCEEDED),
        (FAILED, AnalysisState.QUEUED),
    ):
        with pytest.raises(InternalError):
            await store.end(lease, event, state)
    assert (await store.get("one")).state is AnalysisState.RUNNING


async def test_segments_are_read_by_number(store: AnalysisStore) -> None:
    await running(store, segments=4)
    assert await store.segments("one", 1, 2) == [segment(1), segment(2)]
    assert await store.segments("one", 3) == [segment(3)]
    assert await store.segments("one", 4) == []


async def test_a_checkpoint_comes_back_with_the_memos_since_the_last_one_that_forgot(store: AnalysisStore) -> None:
    lease = await running(store)
    assert await store.checkpoint("one") is None
    expected: list[dict[str, object]] = []
    for index, forget in enumerate((True, False, False, True, False)):
        kept = checkpoint(index, forget=forget, memo={"frames": [index, 1 / 3], "deep": {"a": None}} if index else {})
        await store.commit_segment(lease, segment(index), kept)
        expected = [*([] if forget else expected), dict(kept.memo)]
        assert await store.checkpoint("one") == (kept, expected)
    await store.requeue(lease, reason="DRAIN")
    assert await store.checkpoint("one") == (kept, expected)


async def test_an_ended_analysis_needs_no_checkpoint(store: AnalysisStore) -> None:
    await ended(store, segments=2)
    assert await store.checkpoint("one") is None


async def test_a_checkpoint_that_json_cannot_hold_is_refused_not_bent(store: AnalysisStore) -> None:
    lease = await running(store)
    with pytest.raises(ValueError):
        await store.commit_segment(lease, segment(0), checkpoint(0, memo={"score": float("nan")}))
    assert (await store.get("one")).segments == 0


async def test_a_write_goes_on_when_its_caller_is_cancelled(store: AnalysisStore) -> None:
    lease = await running(store)
    ends = asyncio.create_task(store.end(lease, FAILED, AnalysisState.CANCELLED))
    await asyncio.sleep(0)
    ends.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ends
    async with asyncio.timeout(5):
        while (await store.get("one")).state is not AnalysisState.CANCELLED:
            await asyncio.sleep(0.01)


# --- ending ----------------------------------------------------------------------------------------------------------


async def test_cancelling_a_queued_analysis_ends_it(store: AnalysisStore) -> None:
    await store.create("one", PATH, limit=1)
    record = await store.request_cancel("one")
    assert record.state is AnalysisState.CANCELLED
    assert record.failure is not None
    assert (record.failure.reason, record.last_sequence) == ("CANCELLED", 1)
    assert await store.read("one") == [(1, record.failure)]
    assert await store.claim("one", "me") is None


async def test_cancelling_a_running_analysis_asks_its_runner(store: AnalysisStore) -> None:
    lease = await running(store, segments=1)
    record = await store.request_cancel("one")
    assert (record.state, record.cancel_requested) == (AnalysisState.RUNNING, True)
    assert (await store.beat(lease)).cancel_requested
    await store.requeue(lease, reason="DRAIN")
    assert (await store.queued())[0].cancel_requested
    assert (await store.request_cancel("one")).state is AnalysisState.CANCELLED
    assert (await store.read("one", 2))[0][0] == 3  # behind Started and one segment


async def test_what_has_ended_stays_as_it_is(store: AnalysisStore) -> None:
    await store.create("one", UPLOAD, limit=9)
    await store.set_upload("one", UploadState(5))
    lease = await store.claim("one", "me")
    assert lease is not None
    await store.end(lease, FAILED, AnalysisState.QUARANTINED)
    before = await store.get("one")
    assert await store.request_cancel("one") == before
    await store.set_upload("one", UploadState(5))
    with pytest.raises(FailedPrecondition):
        await store.set_upload("one", UploadState(9))
    assert await store.claim("one", "me") is None
    assert await store.reclaim() == []
    assert await store.get("one") == before


async def test_a_deleted_analysis_is_forgotten_whole(store: SqlAnalysisStore) -> None:
    await ended(store, "one", spec("id", labels=(("a", "b"),)), segments=3)
    await store.set_digest("one", "d")
    await ended(store, "two", segments=1)
    await store.delete("one")
    with pytest.raises(NotFound):
        await store.get("one")
    assert await store.read("two") != []
    assert (await store.create("three", spec("id"), limit=9))[1]  # its request id is free again

    def left(sql) -> int:  # type: ignore[no-untyped-def]
        tables = ("labels", "attempts", "segments", "annotations", "artifacts", "checkpoints", "memos", "analyzer_keys")
        count = "SELECT count(*) FROM {} WHERE analysis_id = 'one'"
        return sum(sql.exec_driver_sql(count.format(table)).scalar_one() for table in tables)

    assert await store.run(left) == 0


async def test_only_an_ended_analysis_is_deleted(store: AnalysisStore) -> None:
    await store.create("one", PATH, limit=1)
    with pytest.raises(AnalysisNotEnded):
        await store.delete("one")
    await store.claim("one", "me")
    with pytest.raises(AnalysisNotEnded):
        await store.delete("one")


# --- lasting ---------------------------------------------------------------------------------------------------------


async def test_what_was_stored_is_there_when_the_store_is_opened_again(store_target: str | Path) -> None:
    async with open_store(store_target) as store:
        lease = await running(store, segments=2)
        before = await store.get("one"), await store.read("one"), await store.checkpoint("one")
    async with open_store(store_target) as store:
        assert (await store.get("one"), await store.read("one"), await store.checkpoint("one")) == before
        assert lease in await store.leases()


async def test_commits_of_many_runners_at_once_do_not_mix(store_target: str | Path) -> None:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(store_target))
        other = await stack.enter_async_context(open_store(store_target)) if store.shared else store

        async def analyse(name: str, through: AnalysisStore) -> None:
            lease = await running(through, name)
            for index in range(5):
                await through.commit_segment(lease, segment(index, mark=name), checkpoint(index))
            await through.end(lease, FINISHED, AnalysisState.SUCCEEDED)

        await asyncio.gather(*(analyse(f"id{number}", (store, other)[number % 2]) for number in range(12)))
        for number in range(12):
            assert await other.segments(f"id{number}") == [segment(index, mark=f"id{number}") for index in range(5)]
            assert (await other.get(f"id{number}")).last_sequence == 7
