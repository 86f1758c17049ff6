"""Alerts, silences, and what servers measured of themselves."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("server", sa.Text, nullable=False),
        sa.Column("component", sa.Text, nullable=False),
        sa.Column("level", sa.Text, nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("value", sa.Double, nullable=False),
        sa.Column("raised_us", sa.BigInteger, nullable=False),
        sa.Column("changed_us", sa.BigInteger, nullable=False),
        sa.Column("resolved_us", sa.BigInteger),
        sa.Column("silenced_by", sa.Text, nullable=False),
        sa.Column("notified", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_alerts"),
    )
    op.create_index("ix_alerts_raised_us", "alerts", ["raised_us"])
    op.create_table(
        "silences",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("pattern", sa.Text, nullable=False),
        sa.Column("until_us", sa.BigInteger, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("create_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_silences"),
    )
    op.create_table(
        "samples",
        sa.Column("server", sa.Text, nullable=False),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("measured", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("server", "time_us", name="pk_samples"),
    )
    op.create_index("ix_samples_time_us", "samples", ["time_us"])
