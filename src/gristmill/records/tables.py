"""Tables of the record domain: rejects of jobs, stored exports, and what deletion by age has done in each dataset."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA, JSON, TIMESTAMP, UUID

from gristmill.core.database import metadata

_NOW = sa.text("now()")

# No foreign key to jobs: rejects are stored before their job draws its number, so that the scope's lock is not held
# meanwhile, and deleting a job with a hundred thousand of them must not take one long statement.
rejects = sa.Table(
    "rejects",
    metadata,
    sa.Column("job_id", UUID(as_uuid=True), primary_key=True),
    sa.Column("record", sa.BigInteger, primary_key=True, autoincrement=False, comment="index in the request, from 0"),
    sa.Column("line", sa.BigInteger, comment="in a body of lines, from 1"),
    sa.Column("raw", BYTEA, nullable=False, comment="the record as it was sent"),
    # json, not jsonb: a violation may name a member with a NUL in it, which jsonb cannot hold.
    sa.Column("errors", JSON, nullable=False, comment="places, the first twenty"),
    sa.Column("errors_total", sa.Integer, nullable=False),
    sa.Column("created_at", TIMESTAMP(timezone=True), nullable=False, server_default=_NOW),
    postgresql_with={"autovacuum_vacuum_scale_factor": 0.05, "toast.autovacuum_vacuum_scale_factor": 0.05},
)

retention = sa.Table(
    "retention",
    metadata,
    sa.Column("dataset_id", UUID(as_uuid=True), primary_key=True),
    sa.Column("last_run", TIMESTAMP(timezone=True), nullable=False, server_default=_NOW),
    sa.Column("deleted", sa.BigInteger, nullable=False, server_default="0", comment="records, since the beginning"),
    postgresql_with={"fillfactor": 50},
)

# The id is that of the job. No foreign key: an export outlives its job, and a cancelled job leaves a row to be cleaned.
exports = sa.Table(
    "exports",
    metadata,
    sa.Column("id", UUID(as_uuid=True), primary_key=True),
    sa.Column("dataset", sa.Text, nullable=False, comment="its name; the export outlives the dataset"),
    sa.Column("format", sa.Text, nullable=False),
    sa.Column("file_name", sa.Text, nullable=False, comment="as readers see it"),
    sa.Column(
        "state",
        sa.Text,
        sa.CheckConstraint("state IN ('writing', 'ready', 'deleted', 'removed')", name="state"),
        nullable=False,
        server_default="writing",
    ),
    sa.Column("fence", sa.Integer, comment="of the attempt whose file counts; null before one is complete"),
    sa.Column("bytes", sa.BigInteger),
    sa.Column("sha256", BYTEA),
    sa.Column("rows", sa.BigInteger),
    sa.Column("failed", sa.BigInteger, comment="records that could not be exported; null for exports of one file"),
    sa.Column("horizon", sa.Text),
    sa.Column("secret", BYTEA, nullable=False, comment="signs links to the file"),
    sa.Column("keep_seconds", sa.Double, nullable=False),
    sa.Column("created_at", TIMESTAMP(timezone=True), nullable=False, server_default=_NOW),
    sa.Column("ready_at", TIMESTAMP(timezone=True)),
    sa.Column("expires_at", TIMESTAMP(timezone=True)),
    sa.CheckConstraint("state = 'writing' OR expires_at IS NOT NULL AND bytes IS NOT NULL", name="complete"),
)
sa.Index("ix_exports_live", exports.c.id, postgresql_where=sa.text("state <> 'removed'"))
