"""The table of the image domain: the parts of exports that are made."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import UUID

from gristmill.core.database import metadata

# A row says that all files of a chunk are in the storage, durable. It is made under the chunk's fence and never changes
# but for ``ended``, which is set in the transaction that ends the chunk.
image_export_parts = sa.Table(
    "image_export_parts",
    metadata,
    sa.Column(
        "export_id",
        UUID(as_uuid=True),
        sa.ForeignKey("gristmill.exports.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False, comment="of the chunk, from 0"),
    sa.Column("fence", sa.Integer, nullable=False, comment="of the attempt that made it"),
    sa.Column("images", sa.BigInteger, nullable=False),
    sa.Column("failed", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False, comment="of its images and of what is said of them"),
    sa.Column("ended", sa.Boolean, nullable=False, server_default="false"),
)
