"""What must hold in every store, however its processes died: rules as queries, each of which finds who breaks it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Select,
    String,
    and_,
    case,
    cast,
    exc,
    exists,
    func,
    not_,
    or_,
    select,
    text,
)

from orchestrator.adapters.stores import migrate
from orchestrator.adapters.stores.schema import (
    METADATA,
    analyses,
    artifacts,
    attempts,
    checkpoints,
    memos,
    model_rollout_steps,
    model_rollouts,
    outcomes,
    segments,
)
from orchestrator.core.jobs import AnalysisState

SHOWN = 3

_ended = analyses.c.state.in_([state.value for state in AnalysisState if state.ended])
_succeeded = analyses.c.state == AnalysisState.SUCCEEDED.value
_running = analyses.c.state == AnalysisState.RUNNING.value


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule, how many break it, and some of them."""

    rule: str
    count: int
    who: tuple[str, ...]


def audit(connection: Connection) -> list[Finding]:
    """Every rule, unless the first finds that the database itself is damaged. The connection should see one state of it
    throughout."""
    sound = _integrity(connection)
    if sound.count:
        return [sound]
    findings = [sound, _revision(connection)]
    for rule, broken in _rules():
        count = connection.execute(select(func.count()).select_from(broken.subquery())).scalar_one()
        who = connection.execute(broken.limit(SHOWN)).scalars().all() if count else ()
        findings.append(Finding(rule, count, tuple(map(str, who))))
    return findings


def _integrity(connection: Connection) -> Finding:
    """The database's own check. PostgreSQL checks pages as it reads them, and we read every row."""
    rule = "the database is sound"
    if connection.dialect.name != "sqlite":
        return Finding(rule, 0, ())
    try:
        said = [line for line in connection.execute(text("PRAGMA integrity_check(10)")).scalars() if line != "ok"]
    except exc.DatabaseError as error:
        said = [str(error.orig)]  # too damaged even for that
    return Finding(rule, len(said), tuple(said[:SHOWN]))


def _revision(connection: Connection) -> Finding:
    found = migrate.revision(connection)
    return Finding("every migration is there", int(found != migrate.HEAD), (found or "none",))


def _rules() -> Iterator[tuple[str, Select[str]]]:
    yield from _references()
    own, final = _segments(), _final()
    a = analyses.c
    started = case((a.started.is_not(None), 1), else_=0)
    log = started + func.coalesce(own.c.count, 0) + case((final, 1), else_=0)
    joined = select(a.id).outerjoin(own, own.c.analysis_id == a.id)
    yield (
        "every log is gapless from 1",
        joined.where(
            or_(
                a.segments != func.coalesce(own.c.count, 0),
                a.last_sequence != log,
                and_(own.c.count > 0, or_(own.c.first != 0, own.c.last != own.c.count - 1, a.started.is_(None))),
            )
        ),
    )
    yield (
        "a final event, and only with a final state",
        select(a.id).where(or_(_ended != final, _succeeded != a.result.is_not(None), _ended != a.end_us.is_not(None))),
    )
    o = outcomes.c
    same = and_(_ended, o.state == a.state, o.end_us == a.end_us)
    yield (
        "what became of an ended analysis is noted, and of no other",
        select(a.id)
        .outerjoin(outcomes, o.analysis_id == a.id)
        .where(or_(_ended != o.analysis_id.is_not(None), and_(o.analysis_id.is_not(None), not_(same)))),
    )
    yield from _tiling()
    yield from _resumption(own)
    yield from _leases()
    yield from _rollouts()
    yield (
        "an artifact is as long as it should be",
        select(artifacts.c.key).where(func.length(artifacts.c.body) != artifacts.c.size),
    )


def _references() -> Iterator[tuple[str, Select[str]]]:
    for child in METADATA.sorted_tables:
        for key in sorted(child.foreign_key_constraints, key=lambda key: str(key.name)):
            parent = key.referred_table
            same = [element.parent == element.column for element in key.elements]
            first = cast(key.elements[0].parent, String)
            yield (
                f"{child.name} belong to {parent.name}",
                select(first)
                .select_from(child)
                .where(not_(exists().where(*same).select_from(parent).correlate(child))),
            )


def _segments() -> CTE:
    s = segments.c
    return (
        select(
            s.analysis_id,
            func.count().label("count"),
            func.min(s.number).label("first"),
            func.max(s.number).label("last"),
        )
        .group_by(s.analysis_id)
        .cte("own")
    )


def _final() -> ColumnElement[bool]:
    return or_(analyses.c.result.is_not(None), analyses.c.failure.is_not(None))


def _tiling() -> Iterator[tuple[str, Select[str]]]:
    s = segments.c
    row = select(
        s.analysis_id,
        s.start_frame,
        s.end_frame,
        s.start_pts,
        s.end_pts,
        s.final,
        func.lag(s.end_frame, 1, 0).over(partition_by=s.analysis_id, order_by=s.number).label("frame_before"),
        func.lag(s.end_pts).over(partition_by=s.analysis_id, order_by=s.number).label("pts_before"),
        func.lead(s.number).over(partition_by=s.analysis_id, order_by=s.number).label("next"),
    ).cte("row")
    r = row.c
    gap = or_(r.start_frame != r.frame_before, r.start_pts != func.coalesce(r.pts_before, r.start_pts))
    empty = or_(r.start_frame >= r.end_frame, r.start_pts >= r.end_pts)
    yield "segments tile the media from frame 0", select(r.analysis_id).where(or_(gap, empty)).distinct()
    yield (
        "the last segment of a success is final, and no other",
        select(r.analysis_id)
        .join(analyses, analyses.c.id == r.analysis_id)
        .where(or_(and_(r.next.is_not(None), r.final), and_(r.next.is_(None), _succeeded, not_(r.final))))
        .distinct(),
    )


def _resumption(own: CTE) -> Iterator[tuple[str, Select[str]]]:
    a, c, m = analyses.c, checkpoints.c, memos.c
    newest = select(m.analysis_id, func.max(m.segment).label("segment")).group_by(m.analysis_id).cte("newest")
    last = and_(segments.c.analysis_id == a.id, segments.c.number == a.segments - 1)
    yield (
        "a checkpoint lies behind the last segment",
        select(a.id)
        .outerjoin(own, own.c.analysis_id == a.id)
        .outerjoin(segments, last)
        .outerjoin(checkpoints, c.analysis_id == a.id)
        .outerjoin(newest, newest.c.analysis_id == a.id)
        .where(
            or_(
                and_(_ended, or_(c.segments.is_not(None), newest.c.segment.is_not(None))),
                and_(
                    not_(_ended),
                    or_(
                        func.coalesce(c.segments, 0) != func.coalesce(own.c.count, 0),
                        c.next_frame != segments.c.end_frame,
                        func.coalesce(newest.c.segment, -1) != func.coalesce(c.segments, 0) - 1,
                    ),
                ),
            )
        ),
    )


def _leases() -> Iterator[tuple[str, Select[str]]]:
    a, t = analyses.c, attempts.c
    count = select(func.count()).where(t.analysis_id == a.id).correlate(analyses).scalar_subquery()
    open_ones = (
        select(func.count()).where(t.analysis_id == a.id, t.end_us.is_(None)).correlate(analyses).scalar_subquery()
    )
    current = exists().where(t.analysis_id == a.id, t.token == a.lease_token, t.end_us.is_(None)).correlate(analyses)
    yield (
        "a running analysis has one lease, and no other has any",
        select(a.id).where(
            or_(
                _running != a.lease_owner.is_not(None),
                and_(_running, not_(current)),
                open_ones != case((_running, 1), else_=0),
                a.attempts != count,
            )
        ),
    )


def _rollouts() -> Iterator[tuple[str, Select[str]]]:
    r, s = model_rollouts.c, model_rollout_steps.c
    steps = (
        select(s.model, func.count().label("count"), func.min(s.revision).label("first"))
        .add_columns(func.max(s.revision).label("last"))
        .group_by(s.model)
        .cte("steps")
    )
    yield (
        "the steps of a rollout are gapless from 1",
        select(r.model)
        .outerjoin(steps, steps.c.model == r.model)
        .where(
            or_(steps.c.count.is_(None), steps.c.first != 1, steps.c.last != steps.c.count, r.revision != steps.c.last)
        ),
    )
    yield (
        "a rollout stands where its last step led",
        select(r.model)
        .join(model_rollout_steps, and_(s.model == r.model, s.revision == r.revision))
        .where(r.stable != s.stable),
    )
    whole = and_(r.candidate.is_not(None) == r.stage.is_not(None), r.candidate.is_not(None) == r.share.is_not(None))
    twice = or_(r.candidate == r.stable, r.previous == r.stable)
    yield "a candidate has a stage and is not the stable version", select(r.model).where(or_(not_(whole), twice))
