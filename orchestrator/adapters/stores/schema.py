"""The tables. Migrations make them; a test holds both together.

Instants are whole microseconds since 1970 UTC (columns ``*_us``), positions and sizes are plain integers, and what is
only ever read as a whole is JSON (``codec.py``): so both databases hold the same, exactly.

The log of an analysis is not a table of its own: it is ``analyses.started``, then its segments, then
``analyses.result`` or ``analyses.failure``. It cannot contradict them.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _analysis_id(*, key: bool = True) -> Column[str]:
    return Column("analysis_id", Text, ForeignKey("analyses.id", ondelete="CASCADE"), primary_key=key, nullable=False)


analyses = Table(
    "analyses",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("request_id", Text),  # NULL when the client gave none
    Column("spec", Text, nullable=False),
    Column("source_kind", Text, nullable=False),
    Column("source_name", Text, nullable=False),
    Column("source_size", BigInteger),  # bytes, once known
    Column("priority", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("create_us", BigInteger, nullable=False),
    Column("start_us", BigInteger),
    Column("end_us", BigInteger),
    Column("attempts", Integer, nullable=False),
    Column("strikes", Integer, nullable=False),
    Column("interruptions", Integer, nullable=False),
    Column("segments", Integer, nullable=False),
    Column("last_sequence", Integer, nullable=False),
    Column("upload_committed", BigInteger, nullable=False),
    Column("upload_complete", Boolean, nullable=False),
    Column("content_digest", Text),
    Column("started", Text),
    Column("reuse", Text),
    Column("cancel_requested", Boolean, nullable=False),
    Column("terminated", Text),  # why an operator asked for its end
    Column("failure", Text),
    Column("result", Text),
    Column("whole", Boolean, nullable=False),  # succeeded, and no frame of the media is missing
    Column("lease_token", BigInteger, nullable=False),
    Column("lease_owner", Text),  # NULL unless it is running
    Column("beats", BigInteger, nullable=False),
    Column("progress_us", BigInteger),  # when it was claimed, or committed a segment since
    UniqueConstraint("tenant", "request_id"),
    Index(None, "create_us", "id"),
    Index(None, "tenant", "create_us", "id"),
    Index(None, "state", "tenant", "priority", "create_us"),
    Index(None, "content_digest"),
    Index(None, "source_size"),
    Index(None, "source_kind", "source_name"),
)

labels = Table(
    "labels",
    METADATA,
    _analysis_id(),
    Column("name", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Index(None, "name", "value"),
)

attempts = Table(
    "attempts",
    METADATA,
    _analysis_id(),
    Column("token", BigInteger, primary_key=True, autoincrement=False),
    Column("owner", Text, nullable=False),
    Column("start_us", BigInteger, nullable=False),
    Column("end_us", BigInteger),
    Column("reason", Text),  # why it ended: a state, or the reason of a requeue
    Column("strike", Boolean, nullable=False),
)

segments = Table(
    "segments",
    METADATA,
    _analysis_id(),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("start_frame", BigInteger, nullable=False),
    Column("end_frame", BigInteger, nullable=False),
    Column("start_pts", BigInteger, nullable=False),
    Column("end_pts", BigInteger, nullable=False),
    Column("final", Boolean, nullable=False),
    Column("thumbnail", Text),  # which frame it shows and its size; the JPEG is an artifact
)

annotation_rows = Table(
    "annotations",
    METADATA,
    Column("analysis_id", Text, primary_key=True),
    Column("segment", Integer, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("analyzer", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("models", Text, nullable=False),  # JSON list of ids of ``model_versions``
    Column("frames_analyzed", Integer, nullable=False),
    Column("frames_reused", Integer, nullable=False),
    ForeignKeyConstraint(["analysis_id", "segment"], ["segments.analysis_id", "segments.number"], ondelete="CASCADE"),
)

model_versions = Table(
    "model_versions",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("digest", Text, nullable=False),
    UniqueConstraint("name", "version", "digest"),
)

artifacts = Table(
    "artifacts",
    METADATA,
    Column("key", Text, primary_key=True),
    _analysis_id(key=False),
    Column("segment", Integer),
    Column("kind", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("create_us", BigInteger, nullable=False),
    Column("body", LargeBinary),  # NULL: the bytes are in the blob store, under ``key``
    Index(None, "analysis_id", "kind", "segment"),
    Index(None, "kind", "create_us"),
)

checkpoints = Table(
    "checkpoints",
    METADATA,
    _analysis_id(),
    Column("segments", Integer, nullable=False),
    Column("next_frame", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("ledger", Text, nullable=False),
    Column("forget", Boolean, nullable=False),
)

memos = Table(
    "memos",
    METADATA,
    _analysis_id(),
    Column("segment", Integer, primary_key=True, autoincrement=False),
    Column("body", Text, nullable=False),
)

analyzer_keys = Table(
    "analyzer_keys",
    METADATA,
    _analysis_id(),
    Column("analyzer", Text, primary_key=True),
    Column("key", Text, nullable=False),
)

outcomes = Table(
    "outcomes",
    METADATA,
    Column(
        "analysis_id", Text, primary_key=True
    ),  # no foreign key: what it took stays known when the analysis is forgotten
    Column("profile", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),  # of a failure
    Column("partial", Boolean, nullable=False),
    Column("reused", Boolean, nullable=False),  # it took something over from an earlier analysis
    Column("create_us", BigInteger, nullable=False),
    Column("start_us", BigInteger),
    Column("end_us", BigInteger, nullable=False),
    Column("elapsed_ns", BigInteger),  # processing, of a success
    Column("media_ns", BigInteger),
    Column("frames", Text, nullable=False),  # JSON: the ledger's by name; "analyzed", and "shared" among them
    Column("seconds", Text, nullable=False),  # JSON: by stage
    Index(None, "end_us"),
)

model_rollouts = Table(
    "model_rollouts",
    METADATA,
    Column("model", Text, primary_key=True),
    Column("revision", BigInteger, nullable=False),  # how many steps there are
    Column("stable", Integer, nullable=False),
    Column("candidate", Integer),
    Column("stage", Text),  # of the candidate, as its share
    Column("share", Double),
    Column("previous", Integer),
)

model_rollout_steps = Table(
    "model_rollout_steps",
    METADATA,
    Column("model", Text, ForeignKey("model_rollouts.model", ondelete="CASCADE"), primary_key=True),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("action", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("stable", Integer, nullable=False),  # behind the step
    Column("share", Double, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("automatic", Boolean, nullable=False),
    Column("rail", Text),
    Column("detail", Text, nullable=False),
    Column("evidence", Text, nullable=False),
)

alerts = Table(
    "alerts",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("server", Text, nullable=False),
    Column("component", Text, nullable=False),
    Column("level", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("value", Double, nullable=False),
    Column("raised_us", BigInteger, nullable=False),
    Column("changed_us", BigInteger, nullable=False),
    Column("resolved_us", BigInteger),
    Column("silenced_by", Text, nullable=False),
    Column("notified", Boolean, nullable=False),
    Index(None, "raised_us"),
)

silences = Table(
    "silences",
    METADATA,
    Column("id", Text, primary_key=True),
    Column("pattern", Text, nullable=False),
    Column("until_us", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("create_us", BigInteger, nullable=False),
)

samples = Table(
    "samples",
    METADATA,
    Column("server", Text, primary_key=True),
    Column("time_us", BigInteger, primary_key=True, autoincrement=False),
    Column("measured", Text, nullable=False),
    Index(None, "time_us"),
)
