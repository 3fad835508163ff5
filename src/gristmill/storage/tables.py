"""The table of the storage domain: which storage belongs to this installation."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TIMESTAMP, UUID

from gristmill.core.database import metadata

# One row: what the file ``gristmill.id`` of the storage says. A process that finds another one there, or none, sees
# another folder than the process that made the row.
file_storage = sa.Table(
    "file_storage",
    metadata,
    sa.Column("one", sa.Boolean, sa.CheckConstraint("one", name="one_row"), primary_key=True, server_default="true"),
    sa.Column("id", UUID(as_uuid=True), nullable=False),
    sa.Column("place", sa.Text, nullable=False, comment="where the process that made the row saw it"),
    sa.Column("created_at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
)
