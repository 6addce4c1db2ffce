"""Lanes, options, priorities, labels, budgets, webhooks, uploads, documents and API keys."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_KEPT = (
    "analysis_id, media_index, segment_index, queued_at, start_s, end_s, last, state, attempts, lease_owner, "
    "lease_until, not_before, frames, parts, instance, busy_s, error, started_at, finished_at"
)


def upgrade() -> None:
    """Widen `analyses`, rebuild `segments` (its primary key gets the lane), make the new tables."""
    _widen_analyses()
    _rebuild_segments()
    _make_deliveries_and_uploads()
    _make_documents_and_keys()


def _widen_analyses() -> None:
    for column in (
        sa.Column("options", sa.JSON, nullable=False, server_default="{}"),
        sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
        sa.Column("labels", sa.JSON, nullable=False, server_default="{}"),
        sa.Column("budget_usd", sa.Float(53)),
        sa.Column("cost_usd", sa.Float(53)),
        sa.Column("webhook", sa.JSON),
        sa.Column("key_id", sa.String(32)),
        sa.Column("expires_at", sa.Float(53)),
    ):
        op.add_column("analyses", column)
    op.create_index("ix_analyses_expires_at", "analyses", ["expires_at"])
    op.create_index("analyses_by_key", "analyses", ["key_id", "created_at"])
    if op.get_bind().dialect.name != "sqlite":  # SQLite holds no length
        op.alter_column("analyses", "idempotency_key", type_=sa.String(300))


def _rebuild_segments() -> None:
    op.create_table(
        "segments_of_lanes",
        sa.Column("analysis_id", sa.String(19), sa.ForeignKey("analyses.id", ondelete="CASCADE"), nullable=False),
        sa.Column("media_index", sa.Integer, nullable=False),
        sa.Column("segment_index", sa.Integer, nullable=False),
        sa.Column("lane", sa.String(8), nullable=False, server_default="gpu"),
        sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
        sa.Column("queued_at", sa.Float(53), nullable=False),
        sa.Column("start_s", sa.Float(53), nullable=False),
        sa.Column("end_s", sa.Float(53), nullable=False),
        sa.Column("last", sa.Boolean, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("lease_owner", sa.String(255)),
        sa.Column("lease_until", sa.Float(53)),
        sa.Column("not_before", sa.Float(53)),
        sa.Column("frames", sa.BigInteger, nullable=False),
        sa.Column("parts", sa.JSON),
        sa.Column("indexed", sa.Boolean, nullable=False, server_default="0"),
        sa.Column("instance", sa.String(255)),
        sa.Column("busy_s", sa.Float(53), nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("started_at", sa.Float(53)),
        sa.Column("finished_at", sa.Float(53)),
        sa.PrimaryKeyConstraint("analysis_id", "media_index", "segment_index", "lane", name="pk_segments"),
    )
    op.execute(f"INSERT INTO segments_of_lanes ({_KEPT}) SELECT {_KEPT} FROM segments")  # noqa: S608
    op.drop_table("segments")
    op.rename_table("segments_of_lanes", "segments")
    op.create_index("segments_by_lane", "segments", ["state", "lane", "priority", "queued_at", "analysis_id"])
    op.create_index("segments_by_user", "segments", ["instance"])
    op.create_index("segments_by_finish", "segments", ["state", "finished_at"])
    op.create_index("segments_to_index", "segments", ["state", "indexed"])


def _make_deliveries_and_uploads() -> None:
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.String(19), primary_key=True),
        sa.Column(
            "analysis_id", sa.String(19), sa.ForeignKey("analyses.id", ondelete="CASCADE"), nullable=False, index=True
        ),
        sa.Column("event", sa.String(32), nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_at", sa.Float(53)),
        sa.Column("delivered_at", sa.Float(53)),
        sa.Column("last_status", sa.Integer),
        sa.Column("last_error", sa.Text),
        sa.Index("webhooks_due", "state", "next_at"),
    )
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(19), primary_key=True),
        sa.Column("created_at", sa.Float(53), nullable=False, index=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("part_size_bytes", sa.BigInteger, nullable=False),
        sa.Column("media_type", sa.String(64)),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("uri", sa.Text, nullable=False),
        sa.Column("multipart_id", sa.Text),
        sa.Column("key_id", sa.String(32)),
    )


def _make_documents_and_keys() -> None:
    op.create_table(
        "documents",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("analysis_id", sa.String(19), nullable=False),
        sa.Column("media_index", sa.Integer, nullable=False),
        sa.Column("analyzer", sa.String(64), nullable=False),
        sa.Column("segment_index", sa.Integer, nullable=False),
        sa.Column("records", sa.JSON, nullable=False),
        sa.Index("documents_place", "analysis_id", "media_index", "analyzer", "segment_index", unique=True),
    )
    op.create_table(
        "document_terms",
        sa.Column("term", sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql"), primary_key=True),
        sa.Column("document_id", _ID, sa.ForeignKey("documents.id", ondelete="CASCADE"), primary_key=True),
        sa.Index("terms_of_document", "document_id"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("secret_sha256", sa.String(64), nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("requests_per_minute", sa.Integer),
        sa.Column("budget_usd_per_month", sa.Float(53)),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("expires_at", sa.Float(53)),
        sa.Column("revoked_at", sa.Float(53)),
    )
