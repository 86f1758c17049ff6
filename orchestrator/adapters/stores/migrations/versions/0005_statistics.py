"""What became of each analysis and what it took; why an operator ended one; when a running one last got on."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ROWS = 500


def upgrade() -> None:
    op.add_column("analyses", sa.Column("terminated", sa.Text))
    op.add_column("analyses", sa.Column("progress_us", sa.BigInteger))
    outcomes = op.create_table(
        "outcomes",
        sa.Column("analysis_id", sa.Text, nullable=False),
        sa.Column("profile", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("partial", sa.Boolean, nullable=False),
        sa.Column("reused", sa.Boolean, nullable=False),
        sa.Column("create_us", sa.BigInteger, nullable=False),
        sa.Column("start_us", sa.BigInteger),
        sa.Column("end_us", sa.BigInteger, nullable=False),
        sa.Column("elapsed_ns", sa.BigInteger),
        sa.Column("media_ns", sa.BigInteger),
        sa.Column("frames", sa.Text, nullable=False),
        sa.Column("seconds", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("analysis_id", name="pk_outcomes"),
    )
    op.create_index("ix_outcomes_end_us", "outcomes", ["end_us"])
    _tell_the_past(op.get_bind(), outcomes)


def _tell_the_past(sql: sa.Connection, outcomes: sa.Table) -> None:
    """Of what ended before: all but the seconds of its stages, which nobody noted."""
    names = ("id", "spec", "state", "reuse", "create_us", "start_us", "end_us", "result", "failure")
    analyses = sa.table("analyses", *(sa.column(name) for name in names))
    annotations = sa.table(
        "annotations", *(sa.column(name) for name in ("analysis_id", "analyzer", "frames_analyzed", "frames_reused"))
    )
    ended = sa.select(analyses).where(analyses.c.end_us.is_not(None))
    frames = sa.select(
        annotations.c.analysis_id, sa.func.sum(annotations.c.frames_analyzed), sa.func.sum(annotations.c.frames_reused)
    ).where(annotations.c.analyzer != "shots")  # which is given every frame
    given = {name: (int(all_), int(shared)) for name, all_, shared in sql.execute(frames.group_by("analysis_id"))}
    rows: list[dict[str, object]] = []
    for row in sql.execute(ended.order_by(analyses.c.end_us)).mappings().all():
        result = json.loads(row["result"]) if row["result"] else {}
        failure = json.loads(row["failure"]) if row["failure"] else {}
        analyzed, shared = given.get(row["id"], (0, 0))
        rows.append(
            {
                "analysis_id": row["id"],
                "profile": json.loads(row["spec"]).get("profile") or "default",
                "state": row["state"],
                "reason": failure.get("reason"),
                "partial": bool(result.get("partial")),
                "reused": row["reuse"] is not None,
                "create_us": row["create_us"],
                "start_us": row["start_us"],
                "end_us": row["end_us"],
                "elapsed_ns": result.get("elapsed_ns"),
                "media_ns": result.get("media_ns"),
                "frames": json.dumps({**result.get("ledger", {}), "analyzed": analyzed, "shared": shared}),
                "seconds": "{}",
            }
        )
    for at in range(0, len(rows), _ROWS):
        sql.execute(sa.insert(outcomes), rows[at : at + _ROWS])
