"""Tables of the dataset domain: datasets, and every version of their contracts."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, UUID

from gristmill.core.database import metadata

DATASET_STATES = ("creating", "ready", "failed", "dropping", "dropped")
VERSION_STATES = ("pending", "applied", "failed")
# States in which a dataset holds its name. A failed one holds it too, so that its error can be read, until the name
# is created anew.
LIVE_STATES = ("creating", "ready", "failed")


def _listed(values: tuple[str, ...]) -> str:
    return ", ".join(f"'{value}'" for value in values)


datasets = sa.Table(
    "datasets",
    metadata,
    sa.Column("id", UUID(as_uuid=True), primary_key=True),
    sa.Column("name", sa.Text(collation="C"), nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("version", sa.Integer, nullable=False, comment="the highest version that has not failed"),
    sa.Column("contract", JSONB, nullable=False, comment="the contract of that version"),
    sa.Column("embedder_name", sa.Text),
    sa.Column("embedder_version", sa.Text),
    sa.Column("embedder_dimensions", sa.Integer),
    sa.Column("error", JSONB, comment="why the creation or the last change failed, as a problem object"),
    sa.Column("created_at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
    sa.Column("dropped_at", TIMESTAMP(timezone=True)),
    sa.Column(
        "hierarchy",
        sa.Integer,
        nullable=False,
        server_default="0",
        comment="rises when a dataset below gets parents; 0 where no dataset has named this one as its parent's",
    ),
    sa.CheckConstraint(f"state IN ({_listed(DATASET_STATES)})", name="state"),
    sa.CheckConstraint("(dropped_at IS NULL) = (state <> 'dropped')", name="dropped"),
)
sa.Index(
    "uq_datasets_live_name",
    datasets.c.name,
    unique=True,
    postgresql_where=sa.text(f"state IN ({_listed(LIVE_STATES)})"),
)

dataset_versions = sa.Table(
    "dataset_versions",
    metadata,
    sa.Column("dataset_id", UUID(as_uuid=True), sa.ForeignKey(datasets.c.id), primary_key=True, nullable=False),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False, comment="from 1"),
    sa.Column("contract", JSONB, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("job_id", UUID(as_uuid=True), comment="the job that applies it"),
    sa.Column("created_at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
    sa.CheckConstraint(f"state IN ({_listed(VERSION_STATES)})", name="state"),
)
