"""The trace that an analysis belongs to."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Earlier analyses belong to none."""
    op.add_column("analyses", sa.Column("traceparent", sa.String(64)))
