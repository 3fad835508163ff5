"""The table of sources: what a user asked for, where each is, who reads it, and how it goes."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, UUID

from gristmill.core.database import metadata
from gristmill.sources.states import SourceState

_NOW = sa.text("now()")
_MOMENT = TIMESTAMP(timezone=True)

# No foreign key to the dataset: a source outlives it, and says why it has failed. Nothing that changes with each batch
# is in an index, so that a batch costs no write to one.
sources = sa.Table(
    "sources",
    metadata,
    sa.Column("id", UUID(as_uuid=True), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("settings", JSONB, nullable=False),
    sa.Column("dataset_id", UUID(as_uuid=True), nullable=False),
    sa.Column("labels", JSONB, nullable=False, server_default="{}"),
    sa.Column("priority", sa.SmallInteger, nullable=False, server_default="5"),
    sa.Column(
        "state",
        sa.Text,
        sa.CheckConstraint(f"state IN ({', '.join(repr(str(one)) for one in SourceState)})", name="state"),
        nullable=False,
        server_default="running",
    ),
    sa.Column("position", JSONB(none_as_null=True), comment="where reading goes on; null at the very beginning"),
    sa.Column("epoch", sa.Integer, nullable=False, server_default="0", comment="rises with each lease and each change"),
    sa.Column("owner", sa.Text, comment="the runner that has the lease"),
    sa.Column("lease_until", _MOMENT),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("created_key", sa.Text, comment="Idempotency-Key and digest of the request that created it"),
    sa.Column("created_at", _MOMENT, nullable=False, server_default=_NOW),
    sa.Column("batches", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("records", sa.BigInteger, nullable=False, server_default="0", comment="accepted ones"),
    sa.Column("rejected", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("last_batch_at", _MOMENT),
    sa.Column("last_job", UUID(as_uuid=True)),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0", comment="in a row"),
    sa.Column("last_error", JSONB(none_as_null=True)),
    sa.Column("last_error_at", _MOMENT),
    sa.Column("waits_for", sa.Text),
    sa.Column("rate", sa.Double, nullable=False, server_default="0", comment="records per second"),
    sa.Column("lag_records", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("lag_since", _MOMENT, comment="since when the oldest record that is not submitted has been ready"),
    sa.Column("reported_at", _MOMENT, comment="when the runner said so"),
    sa.CheckConstraint("(owner IS NULL) = (lease_until IS NULL)", name="lease"),
    sa.CheckConstraint("state = 'running' OR owner IS NULL", name="only_running_is_leased"),
    postgresql_with={"fillfactor": 50, "autovacuum_vacuum_scale_factor": 0.0, "autovacuum_vacuum_threshold": 1000},
)
sa.Index("uq_sources_name", sources.c.name, unique=True)
