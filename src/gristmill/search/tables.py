"""The catalogue of segments: which ranges of a dataset's ``_id`` have a vector index of their own."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, UUID

from gristmill.core.database import metadata
from gristmill.datasets.tables import datasets

# building: its index may not be valid yet. built: a part of a rebuild, which waits for the others. ready: searches use
# it. dropping: replaced; its index is to be removed.
SEGMENT_STATES = ("building", "built", "ready", "dropping")

segments = sa.Table(
    "segments",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("dataset_id", UUID(as_uuid=True), sa.ForeignKey(datasets.c.id, ondelete="CASCADE"), nullable=False),
    sa.Column("lo", sa.BigInteger, nullable=False, comment="first _id of the range"),
    sa.Column("hi", sa.BigInteger, nullable=False, comment="first _id after the range"),
    sa.Column("index_name", sa.Text, nullable=False, comment="the partial HNSW index, in the schema of the data"),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("rows", sa.BigInteger, nullable=False, server_default="0", comment="at the time of the build"),
    sa.Column("job_id", UUID(as_uuid=True), comment="the job that builds or built it"),
    sa.Column("built_at", TIMESTAMP(timezone=True)),
    sa.Column("build_seconds", sa.Double, comment="that Postgres took for its index"),
    sa.Column("build_helpers", sa.Integer, comment="processes that helped it"),
    sa.Column(
        "held_step",
        sa.BigInteger,
        nullable=False,
        server_default="0",
        comment="of so many blocks of 16 ids one is not in the graph; 0: all are",
    ),
    sa.Column(
        "half_precision",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="its graph holds the directions of the vectors as 16-bit floats",
    ),
    sa.CheckConstraint("state IN ('building', 'built', 'ready', 'dropping')", name="state"),
    sa.CheckConstraint("lo < hi", name="range"),
)
sa.Index("ix_segments_dataset", segments.c.dataset_id, segments.c.state, segments.c.lo)

segment_curves = sa.Table(
    "segment_curves",
    metadata,
    sa.Column("segment_id", sa.BigInteger, sa.ForeignKey(segments.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column(
        "curve",
        JSONB,
        nullable=False,
        comment="recall by k and ef, its standard error, how many queries, and where they came from",
    ),
    sa.Column("took_ms", sa.Double, nullable=False, comment="how long learning it took"),
    sa.Column("learnt_at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
)

kept_queries = sa.Table(
    "kept_queries",
    metadata,
    sa.Column("dataset_id", UUID(as_uuid=True), sa.ForeignKey(datasets.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column(
        "slot",
        sa.Integer,
        primary_key=True,
        comment="a new vector takes the place of another one, drawn at random",
    ),
    sa.Column("vector", sa.Text, nullable=False, comment="as pgvector writes it"),
    sa.Column("kept_at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
)

index_settings = sa.Table(
    "index_settings",
    metadata,
    sa.Column("dataset_id", UUID(as_uuid=True), sa.ForeignKey(datasets.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("hold", sa.Boolean, nullable=False, comment="no builds but those asked for"),
    sa.Column("changed_by", sa.Text, nullable=False),
    sa.Column("changed_at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
)

index_warmups = sa.Table(
    "index_warmups",
    metadata,
    sa.Column("one", sa.Boolean, primary_key=True, server_default=sa.true(), comment="there is one row"),
    sa.Column(
        "started_at", TIMESTAMP(timezone=True), nullable=False, comment="the start of Postgres whose memory was filled"
    ),
    sa.Column("noted_at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
    sa.CheckConstraint("one", name="one"),
)

recall = sa.Table(
    "recall",
    metadata,
    sa.Column("dataset_id", UUID(as_uuid=True), sa.ForeignKey(datasets.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("k", sa.Integer, nullable=False),
    sa.Column("value", sa.Double, nullable=False, comment="part of the k nearest that a search finds"),
    sa.Column("target", sa.Double, nullable=False, server_default="0.98", comment="of the contract at the time"),
    sa.Column("samples", sa.Integer, nullable=False, comment="searches compared; 0: all are exact"),
    sa.Column("segments", sa.BigInteger, nullable=False, comment="sum of the ids of the segments that were measured"),
    sa.Column("highest", sa.BigInteger, nullable=False, comment="the last _id at the time"),
    sa.Column("changes", sa.BigInteger, nullable=False, comment="records replaced or deleted at the time"),
    sa.Column("took_ms", sa.Double, nullable=False),
    sa.Column("measured_at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.func.now()),
)
