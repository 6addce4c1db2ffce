"""Which finished analyses have their insights and manifests."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Earlier analyses get theirs now."""
    op.add_column("analyses", sa.Column("summarised", sa.Boolean, nullable=False, server_default="0"))
    op.create_index("analyses_to_summarise", "analyses", ["summarised", "state"])
