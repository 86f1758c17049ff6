"""Analyses, their attempts, segments and annotations."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _analysis_id(*, table: str) -> tuple[sa.Column, sa.ForeignKeyConstraint]:  # type: ignore[type-arg]
    return (
        sa.Column("analysis_id", sa.Text, nullable=False),
        sa.ForeignKeyConstraint(["analysis_id"], ["analyses.id"], f"fk_{table}_analyses", ondelete="CASCADE"),
    )


def upgrade() -> None:
    _analyses()
    op.create_table(
        "labels",
        *_analysis_id(table="labels"),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("analysis_id", "name", "value", name="pk_labels"),
    )
    op.create_index("ix_labels_name_value", "labels", ["name", "value"])
    op.create_table(
        "attempts",
        *_analysis_id(table="attempts"),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("start_us", sa.BigInteger, nullable=False),
        sa.Column("end_us", sa.BigInteger),
        sa.Column("reason", sa.Text),
        sa.Column("strike", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("analysis_id", "token", name="pk_attempts"),
    )
    _results()
    op.create_table(
        "checkpoints",
        *_analysis_id(table="checkpoints"),
        sa.Column("segments", sa.Integer, nullable=False),
        sa.Column("next_frame", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("ledger", sa.Text, nullable=False),
        sa.Column("forget", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("analysis_id", name="pk_checkpoints"),
    )
    op.create_table(
        "memos",
        *_analysis_id(table="memos"),
        sa.Column("segment", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("analysis_id", "segment", name="pk_memos"),
    )
    op.create_table(
        "analyzer_keys",
        *_analysis_id(table="analyzer_keys"),
        sa.Column("analyzer", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("analysis_id", "analyzer", name="pk_analyzer_keys"),
    )


def _analyses() -> None:
    op.create_table(
        "analyses",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("source_kind", sa.Text, nullable=False),
        sa.Column("source_name", sa.Text, nullable=False),
        sa.Column("source_size", sa.BigInteger),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("create_us", sa.BigInteger, nullable=False),
        sa.Column("start_us", sa.BigInteger),
        sa.Column("end_us", sa.BigInteger),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("strikes", sa.Integer, nullable=False),
        sa.Column("interruptions", sa.Integer, nullable=False),
        sa.Column("segments", sa.Integer, nullable=False),
        sa.Column("last_sequence", sa.Integer, nullable=False),
        sa.Column("upload_committed", sa.BigInteger, nullable=False),
        sa.Column("upload_complete", sa.Boolean, nullable=False),
        sa.Column("content_digest", sa.Text),
        sa.Column("started", sa.Text),
        sa.Column("reuse", sa.Text),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("failure", sa.Text),
        sa.Column("result", sa.Text),
        sa.Column("whole", sa.Boolean, nullable=False),
        sa.Column("lease_token", sa.BigInteger, nullable=False),
        sa.Column("lease_owner", sa.Text),
        sa.Column("beats", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_analyses"),
        sa.UniqueConstraint("tenant", "request_id", name="uq_analyses_tenant_request_id"),
    )
    for columns in (
        ["create_us", "id"],
        ["tenant", "create_us", "id"],
        ["state", "tenant", "priority", "create_us"],
        ["content_digest"],
        ["source_size"],
        ["source_kind", "source_name"],
    ):
        op.create_index("ix_analyses_" + "_".join(columns), "analyses", columns)


def _results() -> None:
    op.create_table(
        "segments",
        *_analysis_id(table="segments"),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("start_frame", sa.BigInteger, nullable=False),
        sa.Column("end_frame", sa.BigInteger, nullable=False),
        sa.Column("start_pts", sa.BigInteger, nullable=False),
        sa.Column("end_pts", sa.BigInteger, nullable=False),
        sa.Column("final", sa.Boolean, nullable=False),
        sa.Column("thumbnail", sa.Text),
        sa.PrimaryKeyConstraint("analysis_id", "number", name="pk_segments"),
    )
    op.create_table(
        "annotations",
        sa.Column("analysis_id", sa.Text, nullable=False),
        sa.Column("segment", sa.Integer, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("analyzer", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("models", sa.Text, nullable=False),
        sa.Column("frames_analyzed", sa.Integer, nullable=False),
        sa.Column("frames_reused", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(
            ["analysis_id", "segment"],
            ["segments.analysis_id", "segments.number"],
            "fk_annotations_segments",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("analysis_id", "segment", "position", name="pk_annotations"),
    )
    op.create_table(
        "model_versions",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_model_versions"),
        sa.UniqueConstraint("name", "version", "digest", name="uq_model_versions_name_version_digest"),
    )
    op.create_table(
        "artifacts",
        sa.Column("key", sa.Text, nullable=False),
        *_analysis_id(table="artifacts"),
        sa.Column("segment", sa.Integer),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("create_us", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary),
        sa.PrimaryKeyConstraint("key", name="pk_artifacts"),
    )
    op.create_index("ix_artifacts_analysis_id_kind_segment", "artifacts", ["analysis_id", "kind", "segment"])
    op.create_index("ix_artifacts_kind_create_us", "artifacts", ["kind", "create_us"])
