"""What is kept and what goes; above all, that nothing goes which is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.jobs import AnalysisRecord, AnalysisSpec, AnalysisState, ReusePlan, SourceKind, SourceRef
from orchestrator.core.retention import Item, Kind, Policy, Reason, Removal, inventory, plan

NOW = datetime(2026, 11, 22, tzinfo=UTC)
DAY = timedelta(days=1)
DAY_NS = 86_400 * 10**9


@dataclass(frozen=True)
class Blob:
    key: str
    size: int = 10
    age_ns: int = DAY_NS


def record(
    name: str, days: float | None = 1, *, upload: str = "", retry_of: str = "", reuse: str = ""
) -> AnalysisRecord:
    """An analysis that ended ``days`` ago (``None``: runs)."""
    source = SourceRef(SourceKind.UPLOAD, upload) if upload else SourceRef(SourceKind.PATH, "a.mp4")
    return AnalysisRecord(
        name,
        AnalysisSpec(source, retry_of=retry_of),
        AnalysisState.RUNNING if days is None else AnalysisState.SUCCEEDED,
        create_time=NOW - 30 * DAY,
        end_time=None if days is None else NOW - timedelta(days=days),
        reuse=ReusePlan(reuse, ("labels",)) if reuse else None,
    )


def take(
    records: Sequence[AnalysisRecord],
    uploads: Sequence[Blob] = (),
    blobs: Sequence[Blob] = (),
    weights: dict[tuple[Kind, str], int] | None = None,
) -> tuple[dict[tuple[Kind, str], Item], list[Removal]]:
    items, orphans = inventory(records, uploads, blobs, weights or {}, NOW)
    return {(item.kind, item.name): item for item in items}, orphans


def test_the_age_of_a_thing_counts_from_the_end_of_its_analysis() -> None:
    weights = {(Kind.THUMBNAILS, "a"): 12, (Kind.ANALYSES, "a"): 99, (Kind.THUMBNAILS, "deleted since"): 1}
    items, _ = take([record("a", 3), record("b", None, upload="u")], [Blob("u")], weights=weights)
    assert items[Kind.ANALYSES, "a"] == Item(Kind.ANALYSES, "a", 99, 3 * DAY)
    assert items[Kind.THUMBNAILS, "a"] == Item(Kind.THUMBNAILS, "a", 12, 3 * DAY, frozenset({"a"}))
    assert items[Kind.ANALYSES, "b"].age is None
    assert items[Kind.UPLOADS, "u"].age is None


def test_an_upload_is_as_young_as_the_last_analysis_of_it() -> None:
    records = [record("a", 9, upload="u"), record("b", 2, upload="u", retry_of="a")]
    assert take(records, [Blob("u")])[0][Kind.UPLOADS, "u"].age == 2 * DAY
    for order in (1, -1):
        items, _ = take([*records, record("c", None, upload="u", retry_of="b")][::order], [Blob("u")])
        assert items[Kind.UPLOADS, "u"].age is None


@pytest.mark.parametrize("needs", [record("b", None, retry_of="a"), record("b", None, reuse="a")])
def test_what_a_running_analysis_takes_over_is_needed(needs: AnalysisRecord) -> None:
    for records in ([record("a"), needs], [needs, record("a")]):
        items, _ = take(records, weights={(Kind.THUMBNAILS, "a"): 1})
        assert items[Kind.ANALYSES, "a"].age is None
        assert items[Kind.THUMBNAILS, "a"].age is None


def test_what_no_record_names_is_an_orphan_after_an_hour() -> None:
    young = 10**9
    items, orphans = take(
        [record("a")],
        [Blob("old"), Blob("young", age_ns=young)],
        [
            Blob("thumbnails/x/1"),
            Blob("thumbnails/x/2"),
            Blob("reports/y/1", age_ns=young),
            Blob("foreign/x/1"),
            Blob("thumbnails/x"),
            Blob("thumbnails/a/1"),
        ],
    )
    assert set(items) == {(Kind.ANALYSES, "a")}
    assert orphans == [
        Removal(Kind.UPLOADS, "old", 10, Reason.ORPHAN),
        Removal(Kind.THUMBNAILS, "x", 20, Reason.ORPHAN),
    ]


def test_a_folder_is_as_young_as_its_youngest_blob() -> None:
    _, orphans = take([], blobs=[Blob("thumbnails/x/1"), Blob("thumbnails/x/2", age_ns=1)])
    assert orphans == []


def items_of(*ages: float | None, kind: Kind = Kind.UPLOADS, size: int = 10) -> list[Item]:
    return [
        Item(kind, str(index), size, None if age is None else timedelta(days=age)) for index, age in enumerate(ages)
    ]


def names(removals: Sequence[Removal]) -> list[tuple[str, Reason]]:
    return [(removal.name, removal.reason) for removal in removals]


def test_by_age() -> None:
    removals = plan(items_of(1, 8, None, 7, 9), {Kind.UPLOADS: Policy(max_age=7 * DAY)})
    assert names(removals) == [("4", Reason.AGE), ("1", Reason.AGE)]


def test_by_size_the_oldest_first() -> None:
    removals = plan(items_of(1, 8, None, 7, 9), {Kind.UPLOADS: Policy(max_bytes=30)})
    assert names(removals) == [("4", Reason.BYTES), ("1", Reason.BYTES)]


def test_by_both() -> None:
    policy = Policy(max_age=8 * DAY, max_bytes=30)
    assert names(plan(items_of(1, 8, None, 7, 9), {Kind.UPLOADS: policy})) == [("4", Reason.AGE), ("1", Reason.BYTES)]


def test_without_a_policy_everything_stays() -> None:
    assert plan(items_of(1000), {}) == []
    assert plan(items_of(1000), {Kind.UPLOADS: Policy()}) == []
    assert plan(items_of(1000), {Kind.THUMBNAILS: Policy(max_age=DAY)}) == []


def test_with_an_analysis_go_its_things() -> None:
    records = [record("a", 9, upload="u"), record("b", 1, upload="v"), record("c", 9, upload="v")]
    weights = {(kind, name): 1 for kind in (Kind.THUMBNAILS, Kind.REPORTS) for name in "abc"}
    items, _ = inventory(records, [Blob("u"), Blob("v")], [], weights, NOW)
    removals = plan(items, {Kind.ANALYSES: Policy(max_age=7 * DAY)})
    assert [removal.kind for removal in removals[:2]] == [Kind.ANALYSES] * 2  # before what they name
    assert {(removal.kind, removal.name) for removal in removals} == {
        (Kind.ANALYSES, "a"), (Kind.THUMBNAILS, "a"), (Kind.REPORTS, "a"), (Kind.UPLOADS, "u"),
        (Kind.ANALYSES, "c"), (Kind.THUMBNAILS, "c"), (Kind.REPORTS, "c"),
    }  # fmt: skip


@pytest.mark.parametrize("wrong", [{"max_age": -DAY}, {"max_bytes": -1}])
def test_policies_that_make_no_sense(wrong: dict[str, timedelta | int]) -> None:
    with pytest.raises(ValueError, match="negative"):
        Policy(**wrong)  # type: ignore[arg-type]


ITEMS = st.lists(
    st.builds(
        Item,
        st.sampled_from(Kind),
        st.text("abcdef", min_size=1, max_size=3),
        st.integers(0, 100),
        st.none() | st.integers(0, 20).map(timedelta),
    ),
    unique_by=lambda item: (item.kind, item.name),
)
POLICY = st.builds(Policy, st.none() | st.integers(0, 20).map(timedelta), st.none() | st.integers(0, 300))
POLICIES = st.dictionaries(st.sampled_from(Kind), POLICY)


@given(ITEMS, POLICIES)
def test_a_plan_keeps_what_is_needed_and_removes_no_more_than_it_must(
    items: list[Item], policies: dict[Kind, Policy]
) -> None:
    by_name = {(item.kind, item.name): item for item in items}
    removals = plan(items, policies)
    gone = {(removal.kind, removal.name) for removal in removals}
    assert len(gone) == len(removals)
    assert all(by_name[key].age is not None for key in gone)
    for kind, policy in policies.items():
        left = [item for item in items if item.kind is kind and (kind, item.name) not in gone]
        size = sum(item.size for item in left)
        if policy.max_age is not None:
            assert all(item.age is None or item.age <= policy.max_age for item in left)
        if policy.max_bytes is not None:
            assert size <= policy.max_bytes or all(item.age is None or not item.size for item in left)
            pressed = [removal for removal in removals if removal.kind is kind and removal.reason is Reason.BYTES]
            if pressed:  # the last of them had to go, too
                assert size + pressed[-1].size > policy.max_bytes


@given(ITEMS, POLICIES)
def test_a_second_plan_finds_nothing(items: list[Item], policies: dict[Kind, Policy]) -> None:
    gone = {(removal.kind, removal.name) for removal in plan(items, policies)}
    assert plan([item for item in items if (item.kind, item.name) not in gone], policies) == []
