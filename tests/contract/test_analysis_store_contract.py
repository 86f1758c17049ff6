"""What every analysis store promises, on whichever database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.adapters.stores.sql import open_store
from orchestrator.core.jobs import (
    AnalysisFilter,
    AnalysisState,
    AnalyzerKey,
    ReusePlan,
    SourceKind,
    SourceRef,
    UploadState,
)
from orchestrator.errors import (
    InternalError,
    InvalidRequest,
    NotFound,
    QueueFull,
    RequestIdReused,
    UploadOutOfOrder,
)
from orchestrator.ports import AnalysisStore
from tests.support.store_values import (
    DAWN,
    FAILED,
    FINISHED,
    PATH,
    STARTED,
    UPLOAD,
    Clock,
    running,
    spec,
)


@pytest.fixture
async def store(store_target: str | Path) -> AsyncIterator[AnalysisStore]:
    async with open_store(store_target, clock=Clock()) as opened:
        yield opened


# --- creating --------------------------------------------------------------------------------------------------------


async def test_a_new_analysis_is_queued_as_it_was_asked_for(store: AnalysisStore) -> None:
    asked = replace(
        UPLOAD, tenant="t", labels=(("a", "1"), ("b", "")), deadline=DAWN + timedelta(microseconds=7), recompute=("x",)
    )
    record, new = await store.create("one", asked, limit=1)
    assert new
    assert record == await store.get("one")
    assert (record.spec, record.state, record.create_time) == (asked, AnalysisState.QUEUED, DAWN + timedelta(seconds=1))
    assert (record.attempts, record.segments, record.last_sequence, record.upload) == (0, 0, 0, UploadState())
    assert await store.read("one") == []


async def test_fifty_submits_at_once_with_one_request_id_are_one_analysis(store: AnalysisStore) -> None:
    made = await asyncio.gather(*(store.create(f"id{number}", spec("same"), limit=5) for number in range(50)))
    assert len({record.id for record, _ in made}) == 1
    assert [new for _, new in made].count(True) == 1
    assert len((await store.list(AnalysisFilter(), 10)).records) == 1


async def test_a_request_id_belongs_to_its_tenant(store: AnalysisStore) -> None:
    for tenant in ("a", "b"):
        assert (await store.create(tenant, spec("same", tenant=tenant), limit=5))[1]


async def test_without_a_request_id_every_submit_is_another_analysis(store: AnalysisStore) -> None:
    assert [(await store.create(name, PATH, limit=5))[1] for name in "ab"] == [True, True]


async def test_a_request_id_given_to_another_request_is_refused(store: AnalysisStore) -> None:
    await store.create("one", spec("same"), limit=5)
    with pytest.raises(RequestIdReused):
        await store.create("two", spec("same", profile="thorough"), limit=5)
    with pytest.raises(NotFound):
        await store.get("two")


async def test_what_the_service_adds_to_a_request_makes_no_other_request(store: AnalysisStore) -> None:
    first = replace(UPLOAD, request_id="same", source=SourceRef(SourceKind.UPLOAD, "one"))
    await store.create("one", first, limit=5)
    again = replace(first, source=SourceRef(SourceKind.UPLOAD, "two"), deadline=DAWN)
    record, new = await store.create("two", again, limit=5)
    assert (record.id, new) == ("one", False)


async def test_the_same_id_again_is_the_answer_that_was_lost(store: AnalysisStore) -> None:
    assert [(await store.create("one", PATH, limit=5))[1] for _ in range(2)] == [True, False]
    with pytest.raises(InternalError):
        await store.create("one", UPLOAD, limit=5)


async def test_no_more_than_the_limit_wait_or_run_however_many_ask_at_once(store: AnalysisStore) -> None:
    asked = await asyncio.gather(
        *(store.create(f"id{number}", PATH, limit=7) for number in range(20)), return_exceptions=True
    )
    assert sum(isinstance(each, QueueFull) for each in asked) == 13
    await store.request_cancel(next(each[0].id for each in asked if not isinstance(each, BaseException)))
    assert (await store.create("more", PATH, limit=7))[1]
    with pytest.raises(QueueFull):
        await store.create("one too many", PATH, limit=7)


async def test_a_full_queue_still_knows_a_request_made_before(store: AnalysisStore) -> None:
    await store.create("one", spec("same"), limit=1)
    assert not (await store.create("two", spec("same"), limit=1))[1]


@pytest.mark.parametrize("change", [{"tenant": "a\0"}, {"request_id": "\0"}, {"labels": (("a", "\0"),)}])
async def test_a_character_that_one_database_cannot_hold_is_refused_by_both(
    store: AnalysisStore, change: dict[str, object]
) -> None:
    with pytest.raises(InvalidRequest):
        await store.create("one", replace(PATH, **change), limit=1)  # type: ignore[arg-type]


async def test_unknown_ids_are_not_found(store: AnalysisStore) -> None:
    for call in (
        store.get("none"),
        store.read("none"),
        store.request_cancel("none"),
        store.delete("none"),
        store.set_upload("none", UploadState(1)),
        store.claim("none", "me"),
        store.checkpoint("none"),
        store.set_digest("none", "0"),
        store.segments("none"),
    ):
        with pytest.raises(NotFound):
            await call


# --- listing ---------------------------------------------------------------------------------------------------------


async def test_pages_tile_the_listing_while_new_analyses_come(store: AnalysisStore) -> None:
    for number in range(7):
        await store.create(f"id{number}", PATH, limit=99)
    seen, token = [], ""
    for size in (2, 3, 2):
        page = await store.list(AnalysisFilter(), size, token)
        seen += [record.id for record in page.records]
        token = page.next_token
        await store.create(f"new{size}{len(seen)}", PATH, limit=99)
    assert seen == [f"id{number}" for number in reversed(range(7))]
    assert token == ""


async def test_a_listing_goes_on_behind_an_analysis_that_was_deleted(store: AnalysisStore) -> None:
    for number in range(4):
        await store.create(f"id{number}", PATH, limit=99)
        await store.request_cancel(f"id{number}")
    token = (await store.list(AnalysisFilter(), 2)).next_token
    for name in ("id2", "id1"):
        await store.delete(name)
    assert [record.id for record in (await store.list(AnalysisFilter(), 2, token)).records] == ["id0"]


async def test_analyses_of_one_instant_are_all_listed(store_target: str | Path) -> None:
    async with open_store(store_target, clock=lambda: DAWN) as store:
        for name in "cab":
            await store.create(name, PATH, limit=9)
        first = await store.list(AnalysisFilter(), 2)
        rest = await store.list(AnalysisFilter(), 2, first.next_token)
        assert [record.id for record in (*first.records, *rest.records)] == ["c", "b", "a"]


@pytest.mark.parametrize("token", ["x", "!!", "W10=", "bnVsbA==", "WzEsMiwzXQ==", "é"])
async def test_a_token_that_is_none_of_ours_is_refused(store: AnalysisStore, token: str) -> None:
    with pytest.raises(InvalidRequest):
        await store.list(AnalysisFilter(), 10, token)


async def test_a_token_of_another_listing_is_refused(store: AnalysisStore) -> None:
    for name in "ab":
        await store.create(name, PATH, limit=9)
    token = (await store.list(AnalysisFilter(), 1)).next_token
    with pytest.raises(InvalidRequest):
        await store.list(AnalysisFilter(tenant="t"), 1, token)


async def test_filters_restrict(store: AnalysisStore) -> None:
    await store.create("a", spec(tenant="t", labels=(("kind", "news"), ("year", "2026"))), limit=9)
    await store.create("b", spec(tenant="t", labels=(("kind", "news"),)), limit=9)
    await store.create("c", spec(tenant="u", labels=(("kind", "film"), ("year", "2026"))), limit=9)
    await store.request_cancel("b")
    await running(store, "d", spec(tenant="u"))

    async def found(query: AnalysisFilter) -> str:
        return "".join(record.id for record in (await store.list(query, 9)).records)

    assert await found(AnalysisFilter()) == "dcba"
    assert await found(AnalysisFilter(tenant="t")) == "ba"
    assert await found(AnalysisFilter(tenant="")) == ""
    assert await found(AnalysisFilter(states=frozenset({AnalysisState.CANCELLED, AnalysisState.RUNNING}))) == "db"
    assert await found(AnalysisFilter(labels=(("kind", "news"),))) == "ba"
    assert await found(AnalysisFilter(labels=(("kind", "news"), ("year", "2026")))) == "a"
    b = (await store.get("b")).create_time
    assert await found(AnalysisFilter(created_after=b)) == "dcb"
    assert await found(AnalysisFilter(created_before=b)) == "a"
    assert await found(AnalysisFilter(tenant="t", labels=(("kind", "news"),), created_after=b)) == "b"


# --- sources ---------------------------------------------------------------------------------------------------------


async def test_an_upload_only_grows(store: AnalysisStore) -> None:
    await store.create("one", UPLOAD, limit=1)
    for upload in (UploadState(5), UploadState(5), UploadState(9), UploadState(9, True), UploadState(9, True)):
        await store.set_upload("one", upload)
        assert (await store.get("one")).upload == upload
    for wrong in (UploadState(8, True), UploadState(9), UploadState(10, True)):
        with pytest.raises(UploadOutOfOrder):
            await store.set_upload("one", wrong)
    assert (await store.get("one")).upload == UploadState(9, True)


async def test_references_to_a_source_are_counted(store: AnalysisStore) -> None:
    await store.create("one", UPLOAD, limit=9)
    await store.create("two", replace(UPLOAD, retry_of="one"), limit=9)
    await store.create("file", spec(), limit=9)
    assert await store.references(UPLOAD.source) == 2
    assert await store.references(SourceRef(SourceKind.PATH, "upload")) == 0


async def test_sizes_of_succeeded_analyses_are_known(store: AnalysisStore) -> None:
    assert not await store.sized(1000)
    lease = await running(store)
    assert not await store.sized(1000)
    await store.end(lease, FINISHED, AnalysisState.SUCCEEDED)
    assert await store.sized(1000)
    assert not await store.sized(999)
    upload = await running(store, "two", UPLOAD)
    await store.set_upload("two", UploadState(7, True))
    await store.end(upload, FINISHED, AnalysisState.SUCCEEDED)
    assert await store.sized(7)


# --- what is known ---------------------------------------------------------------------------------------------------

LABELS_1, LABELS_2, FACES_1 = AnalyzerKey("labels", "k1"), AnalyzerKey("labels", "k2"), AnalyzerKey("faces", "k1")


async def answered(store: AnalysisStore, name: str, *keys: AnalyzerKey, partial: bool = False) -> None:
    lease = await running(store, name)
    await store.set_digest(name, "digest")
    await store.end(lease, replace(FINISHED, partial=partial), AnalysisState.SUCCEEDED, keys)


async def test_the_most_is_known_of_the_newest_analysis_that_holds_most(store: AnalysisStore) -> None:
    assert await store.known("digest", [LABELS_1]) is None
    await answered(store, "a", LABELS_1, FACES_1)
    await answered(store, "b", LABELS_1)
    await answered(store, "c", LABELS_2)
    assert await store.known("digest", [FACES_1, LABELS_1]) == ReusePlan("a", ("faces", "labels"))
    assert await store.known("digest", [LABELS_1]) == ReusePlan("b", ("labels",))
    assert await store.known("digest", [LABELS_2, FACES_1]) == ReusePlan("c", ("labels",))
    assert await store.known("digest", [AnalyzerKey("labels", "k3")]) is None
    assert await store.known("digest", []) is None
    assert await store.known("other", [LABELS_1]) is None
    assert (await store.get("a")).content_digest == "digest"


async def test_a_partial_or_failed_analysis_lends_nothing(store: AnalysisStore) -> None:
    await answered(store, "broken", LABELS_1, partial=True)
    lease = await running(store, "failed")
    await store.set_digest("failed", "digest")
    await store.end(lease, FAILED, AnalysisState.FAILED, [LABELS_1])
    assert await store.known("digest", [LABELS_1]) is None


async def test_a_plan_is_kept_with_its_analysis(store: AnalysisStore) -> None:
    await store.create("one", PATH, limit=1)
    lease = await store.claim("one", "me")
    assert lease is not None
    plan = ReusePlan("earlier", ("labels",))
    await store.begin(lease, STARTED, plan)
    assert (await store.get("one")).reuse == plan
