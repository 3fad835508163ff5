"""The table of API keys."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TIMESTAMP, UUID

from gristmill.core.database import metadata

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", UUID(as_uuid=True), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False, comment="SHA-256 of the key, which is 256 random bits"),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("created_at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
    sa.Column("revoked_at", TIMESTAMP(timezone=True)),
    sa.CheckConstraint("scope IN ('read', 'write', 'admin')", name="scope"),
)
sa.Index("uq_api_keys_hash", api_keys.c.hash, unique=True)
sa.Index("uq_api_keys_name", api_keys.c.name, unique=True, postgresql_where=api_keys.c.revoked_at.is_(None))
