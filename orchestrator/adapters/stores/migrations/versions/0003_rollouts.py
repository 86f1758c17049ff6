"""Which version of a model answers, which one is on trial, and every step that led there."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "model_rollouts",
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("stable", sa.Integer, nullable=False),
        sa.Column("candidate", sa.Integer),
        sa.Column("stage", sa.Text),
        sa.Column("share", sa.Double),
        sa.Column("previous", sa.Integer),
        sa.PrimaryKeyConstraint("model", name="pk_model_rollouts"),
    )
    op.create_table(
        "model_rollout_steps",
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("stable", sa.Integer, nullable=False),
        sa.Column("share", sa.Double, nullable=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("automatic", sa.Boolean, nullable=False),
        sa.Column("rail", sa.Text),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(
            ["model"], ["model_rollouts.model"], "fk_model_rollout_steps_model_rollouts", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("model", "revision", name="pk_model_rollout_steps"),
    )
