"""Tables of the record domain: the rejects of jobs, and what deletion by age has done in each dataset."""

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
