"""Tables of the job domain: jobs, chunks, leases, payloads, idempotency keys, beats of processes."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA, JSONB, TIMESTAMP, UUID

from gristmill.core.database import metadata
from gristmill.jobs.states import UNFINISHED_JOB_STATES, ChunkState, JobState, sql_list

_MOMENT = TIMESTAMP(timezone=True)
_NOW = sa.text("now()")

# Rows of live jobs change several times within seconds: room on the page keeps those updates off the indexes, and
# vacuum comes by count, not by share, so that a long history does not put it off.
_BUSY = {
    "fillfactor": 70,
    "autovacuum_vacuum_scale_factor": 0.0,
    "autovacuum_vacuum_threshold": 5000,
    "autovacuum_analyze_scale_factor": 0.02,
    "autovacuum_vacuum_cost_delay": 0,
}

job_number = sa.Sequence("job_number", schema=metadata.schema, metadata=metadata)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", UUID(as_uuid=True), primary_key=True),
    sa.Column("seq", sa.BigInteger, comment="place in the order of submission; null while scheduled"),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("exclusive", sa.Boolean, nullable=False),
    sa.Column(
        "serial",
        sa.Boolean,
        nullable=False,
        server_default=sa.text("false"),
        comment="its chunks run one after another",
    ),
    sa.Column("dataset", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("queue", sa.Text, nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("args", JSONB, nullable=False),
    sa.Column("labels", JSONB, nullable=False),
    sa.Column("submitted_by", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("traceparent", sa.Text),
    sa.Column("retry_of", UUID(as_uuid=True)),
    sa.Column("max_attempts", sa.SmallInteger, nullable=False),
    sa.Column("chunks_total", sa.Integer, nullable=False),
    sa.Column("chunks_done", sa.Integer, nullable=False, server_default="0"),
    sa.Column("chunks_failed", sa.Integer, nullable=False, server_default="0"),
    sa.Column("chunks_cancelled", sa.Integer, nullable=False, server_default="0"),
    sa.Column("records_total", sa.BigInteger, nullable=False),
    sa.Column("records_succeeded", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("records_rejected", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("records_superseded", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column(
        "records_dropped",
        sa.BigInteger,
        nullable=False,
        server_default="0",
        comment="records that a filter of the pipeline took",
    ),
    sa.Column("error", JSONB),
    sa.Column("result", JSONB),
    sa.Column("created_at", _MOMENT, nullable=False, server_default=_NOW),
    sa.Column("run_at", _MOMENT, nullable=False, server_default=_NOW),
    sa.Column("started_at", _MOMENT),
    sa.Column("cancelled_at", _MOMENT, comment="when cancelling was asked for"),
    sa.Column("finished_at", _MOMENT),
    sa.CheckConstraint(f"state IN ({sql_list(tuple(JobState))})", name="state"),
    sa.CheckConstraint("chunks_done + chunks_failed + chunks_cancelled <= chunks_total", name="counts"),
    sa.CheckConstraint("(seq IS NULL) = (state = 'scheduled') OR state = 'cancelled'", name="number"),
    sa.CheckConstraint(
        f"(finished_at IS NULL) = (state IN ({sql_list(UNFINISHED_JOB_STATES)}))",
        name="finished",
    ),
    postgresql_with=_BUSY,
)
# No index mentions ``state``: the update from queued to running then touches none of them (a HOT update).
_UNFINISHED = sa.text("finished_at IS NULL")
sa.Index("ix_jobs_live", jobs.c.scope, jobs.c.seq, postgresql_where=_UNFINISHED)
sa.Index("ix_jobs_live_exclusive", jobs.c.scope, jobs.c.seq, postgresql_where=sa.and_(jobs.c.exclusive, _UNFINISHED))
sa.Index("ix_jobs_scheduled", jobs.c.run_at, postgresql_where=sa.text("seq IS NULL AND finished_at IS NULL"))
sa.Index("ix_jobs_cancelling", jobs.c.id, postgresql_where=sa.text("cancelled_at IS NOT NULL AND finished_at IS NULL"))
sa.Index("ix_jobs_finished", jobs.c.finished_at, postgresql_where=sa.text("finished_at IS NOT NULL"))
sa.Index("ix_jobs_failed", jobs.c.finished_at, postgresql_where=jobs.c.chunks_failed > 0)
sa.Index("ix_jobs_scope_exclusive", jobs.c.scope, jobs.c.seq, postgresql_where=jobs.c.exclusive)
# Those that bring records: views ask for the newest one of a dataset.
sa.Index(
    "ix_jobs_batches",
    jobs.c.scope,
    jobs.c.seq,
    postgresql_where=sa.text("finished_at IS NOT NULL AND type IN ('records.ingest', 'records.merge')"),
)
sa.Index("ix_jobs_dataset", jobs.c.dataset, jobs.c.id)
sa.Index("ix_jobs_retry_of", jobs.c.retry_of, postgresql_where=sa.text("retry_of IS NOT NULL"))

# Most jobs have one scope, which is in their row. Both are read together through the view ``scopes``.
further_scopes = sa.Table(
    "further_scopes",
    metadata,
    sa.Column("job_id", UUID(as_uuid=True), sa.ForeignKey(jobs.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("exclusive", sa.Boolean, nullable=False),
    sa.Column("finished", sa.Boolean, nullable=False, server_default=sa.text("false"), comment="the job has finished"),
)
sa.Index("ix_further_scopes_scope", further_scopes.c.scope)
sa.Index(
    "ix_further_scopes_live",
    further_scopes.c.scope,
    further_scopes.c.exclusive,
    postgresql_where=sa.text("NOT finished"),
)

chunks = sa.Table(
    "chunks",
    metadata,
    sa.Column(
        "job_id", UUID(as_uuid=True), sa.ForeignKey(jobs.c.id, ondelete="CASCADE"), primary_key=True, nullable=False
    ),
    sa.Column("number", sa.Integer, primary_key=True, comment="from 0"),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("queue", sa.Text, nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("seq", sa.BigInteger, comment="the job's number"),
    sa.Column("run_at", _MOMENT, nullable=False, server_default=_NOW),
    sa.Column("first_record", sa.BigInteger, nullable=False),
    sa.Column("records", sa.BigInteger, nullable=False),
    sa.Column(
        "shares",
        sa.Boolean,
        nullable=False,
        server_default=sa.text("false"),
        comment="small: may share a message with chunks of other jobs",
    ),
    sa.Column("dispatch", sa.Integer, nullable=False, server_default="0"),
    sa.Column("resends", sa.Integer, nullable=False, server_default="0"),
    sa.Column("fence", sa.Integer, nullable=False, server_default="0"),
    sa.Column("attempts", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("sent_at", _MOMENT),
    sa.Column("claimed_at", _MOMENT),
    sa.Column("worker", sa.Text),
    sa.Column("error", JSONB),
    sa.Column("xact", sa.dialects.postgresql.BIGINT, comment="pg_current_xact_id of the commit, for followers"),
    sa.CheckConstraint(f"state IN ({sql_list(tuple(ChunkState))})", name="state"),
    postgresql_with=_BUSY,
)
sa.Index(
    "ix_chunks_waiting",
    chunks.c.queue,
    chunks.c.priority.desc(),
    chunks.c.seq,
    chunks.c.number,
    postgresql_where=chunks.c.state == sa.text("'waiting'"),
)
sa.Index("ix_chunks_sent", chunks.c.queue, chunks.c.sent_at, postgresql_where=chunks.c.state == sa.text("'sent'"))
sa.Index("ix_chunks_running", chunks.c.job_id, postgresql_where=chunks.c.state == sa.text("'running'"))

# The heartbeat's narrow row: all its columns stay on one page and no index covers what changes.
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("job_id", UUID(as_uuid=True), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("fence", sa.Integer, nullable=False),
    sa.Column("expires_at", _MOMENT, nullable=False),
    sa.Column(
        "progress", sa.REAL, nullable=False, server_default="0", comment="share of the chunk that is done, 0 to 1"
    ),
    postgresql_with={**_BUSY, "fillfactor": 50, "autovacuum_vacuum_threshold": 1000},
)

payloads = sa.Table(
    "payloads",
    metadata,
    sa.Column("job_id", UUID(as_uuid=True), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("bytes", sa.Integer, nullable=False),
    sa.Column("data", BYTEA, nullable=False),
    postgresql_with={
        **_BUSY,
        "fillfactor": 100,
        "toast.autovacuum_vacuum_scale_factor": 0.0,
        "toast.autovacuum_vacuum_threshold": 5000,
    },
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("principal", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("body_hash", sa.Text, nullable=False),
    sa.Column("job_id", UUID(as_uuid=True), nullable=False),
    sa.Column("created_at", _MOMENT, nullable=False, server_default=_NOW),
)
sa.Index("ix_idempotency_keys_created_at", idempotency_keys.c.created_at)

# One row per running dispatcher or worker process: what is alive, and how many slots the window is made for.
processes = sa.Table(
    "processes",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("queue", sa.Text),
    sa.Column("slots", sa.Integer, nullable=False, server_default="0"),
    sa.Column("started_at", _MOMENT, nullable=False, server_default=_NOW),
    sa.Column("beat_at", _MOMENT, nullable=False, server_default=_NOW),
)

# Counters of all processes, for /metrics; see counters.py.
counters = sa.Table(
    "counters",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("labels", sa.Text, primary_key=True),
    sa.Column("value", sa.Float(53), nullable=False),
    postgresql_with={**_BUSY, "fillfactor": 50, "autovacuum_vacuum_threshold": 1000},
)
