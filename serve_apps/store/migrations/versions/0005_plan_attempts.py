"""How often an analysis was claimed for planning: one whose planners do not survive it fails in the end."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Earlier analyses have had no attempt."""
    op.add_column("analyses", sa.Column("plan_attempts", sa.Integer, nullable=False, server_default="0"))
