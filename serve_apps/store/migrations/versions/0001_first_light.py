"""Analyses, segments and events, as they were first made (without versions)."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "analyses",
        sa.Column("id", sa.String(19), primary_key=True),
        sa.Column("created_at", sa.Float(53), nullable=False, index=True),
        sa.Column("state", sa.String(16), nullable=False, index=True),
        sa.Column("media", sa.JSON, nullable=False),
        sa.Column("analyzers", sa.JSON, nullable=False),
        sa.Column("error", sa.JSON),
        sa.Column("idempotency_key", sa.String(255), unique=True),
        sa.Column("body_sha256", sa.String(64), nullable=False),
        sa.Column("lease_owner", sa.String(255)),
        sa.Column("lease_until", sa.Float(53)),
        sa.Column("started_at", sa.Float(53)),
        sa.Column("first_frame_at", sa.Float(53)),
        sa.Column("finished_at", sa.Float(53)),
        sa.Column("info", sa.JSON),
    )
    _segments()
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("analysis_id", sa.String(19), sa.ForeignKey("analyses.id", ondelete="CASCADE"), nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Index("events_of_analysis", "analysis_id", "id"),
        sqlite_autoincrement=True,
    )


def _segments() -> None:
    op.create_table(
        "segments",
        sa.Column("analysis_id", sa.String(19), sa.ForeignKey("analyses.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("media_index", sa.Integer, primary_key=True),
        sa.Column("segment_index", sa.Integer, primary_key=True),
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
        sa.Column("instance", sa.String(255)),
        sa.Column("busy_s", sa.Float(53), nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("started_at", sa.Float(53)),
        sa.Column("finished_at", sa.Float(53)),
        sa.Index("segments_by_turn", "state", "queued_at", "analysis_id", "media_index", "segment_index"),
        sa.Index("segments_by_instance", "instance"),
        sa.Index("segments_by_end", "state", "finished_at"),
    )
