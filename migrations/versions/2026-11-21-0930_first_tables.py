"""The first tables: jobs, datasets, segments, API keys."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "2026_11_21_0930"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("CREATE SCHEMA IF NOT EXISTS data")
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    op.execute("CREATE SEQUENCE gristmill.job_number")
    op.create_table(
        "api_keys",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False, comment="SHA-256 of the key, which is 256 random bits"),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("revoked_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("scope IN ('read', 'write', 'admin')", name=op.f("ck_api_keys_scope")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        schema="gristmill",
    )
    op.create_index("uq_api_keys_hash", "api_keys", ["hash"], unique=True, schema="gristmill")
    op.create_index(
        "uq_api_keys_name",
        "api_keys",
        ["name"],
        unique=True,
        schema="gristmill",
        postgresql_where=sa.text("revoked_at IS NULL"),
    )
    op.create_table(
        "counters",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("value", sa.Float(precision=53), nullable=False),
        sa.PrimaryKeyConstraint("name", "labels", name=op.f("pk_counters")),
        schema="gristmill",
        postgresql_with={
            "fillfactor": 50,
            "autovacuum_vacuum_scale_factor": 0.0,
            "autovacuum_vacuum_threshold": 1000,
            "autovacuum_analyze_scale_factor": 0.02,
            "autovacuum_vacuum_cost_delay": 0,
        },
    )
    op.create_table(
        "datasets",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, comment="the highest version that has not failed"),
        sa.Column(
            "contract", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="the contract of that version"
        ),
        sa.Column("embedder_name", sa.Text(), nullable=True),
        sa.Column("embedder_version", sa.Text(), nullable=True),
        sa.Column("embedder_dimensions", sa.Integer(), nullable=True),
        sa.Column(
            "error",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="why the creation or the last change failed, as a problem object",
        ),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("dropped_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("(dropped_at IS NULL) = (state <> 'dropped')", name=op.f("ck_datasets_dropped")),
        sa.CheckConstraint(
            "state IN ('creating', 'ready', 'failed', 'dropping', 'dropped')", name=op.f("ck_datasets_state")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
        schema="gristmill",
    )
    op.create_index(
        "uq_datasets_live_name",
        "datasets",
        ["name"],
        unique=True,
        schema="gristmill",
        postgresql_where=sa.text("state IN ('creating', 'ready', 'failed')"),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("principal", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("body_hash", sa.Text(), nullable=False),
        sa.Column("job_id", sa.UUID(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("principal", "key", name=op.f("pk_idempotency_keys")),
        schema="gristmill",
    )
    op.create_index(
        "ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"], unique=False, schema="gristmill"
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column(
            "seq", sa.BigInteger(), nullable=True, comment="place in the order of submission; null while scheduled"
        ),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("exclusive", sa.Boolean(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("args", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("labels", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("submitted_by", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("retry_of", sa.UUID(), nullable=True),
        sa.Column("max_attempts", sa.SmallInteger(), nullable=False),
        sa.Column("chunks_total", sa.Integer(), nullable=False),
        sa.Column("chunks_done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("chunks_failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("chunks_cancelled", sa.Integer(), server_default="0", nullable=False),
        sa.Column("records_total", sa.BigInteger(), nullable=False),
        sa.Column("records_succeeded", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("records_rejected", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("records_superseded", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("error", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("result", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("run_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column(
            "cancelled_at", postgresql.TIMESTAMP(timezone=True), nullable=True, comment="when cancelling was asked for"
        ),
        sa.Column("finished_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(finished_at IS NULL) = (state IN ('scheduled', 'queued', 'running', 'cancelling'))",
            name=op.f("ck_jobs_finished"),
        ),
        sa.CheckConstraint("(seq IS NULL) = (state = 'scheduled') OR state = 'cancelled'", name=op.f("ck_jobs_number")),
        sa.CheckConstraint(
            "state IN ('scheduled', 'queued', 'running', 'cancelling', 'succeeded', 'failed', 'cancelled')",
            name=op.f("ck_jobs_state"),
        ),
        sa.CheckConstraint(
            "chunks_done + chunks_failed + chunks_cancelled <= chunks_total", name=op.f("ck_jobs_counts")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        schema="gristmill",
        postgresql_with={
            "fillfactor": 70,
            "autovacuum_vacuum_scale_factor": 0.0,
            "autovacuum_vacuum_threshold": 5000,
            "autovacuum_analyze_scale_factor": 0.02,
            "autovacuum_vacuum_cost_delay": 0,
        },
    )
    op.create_index(
        "ix_jobs_cancelling",
        "jobs",
        ["id"],
        unique=False,
        schema="gristmill",
        postgresql_where=sa.text("cancelled_at IS NOT NULL AND finished_at IS NULL"),
    )
    op.create_index("ix_jobs_dataset", "jobs", ["dataset", "id"], unique=False, schema="gristmill")
    op.create_index(
        "ix_jobs_finished",
        "jobs",
        ["finished_at"],
        unique=False,
        schema="gristmill",
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_live",
        "jobs",
        ["scope", "seq"],
        unique=False,
        schema="gristmill",
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_index(
        "ix_jobs_live_exclusive",
        "jobs",
        ["scope", "seq"],
        unique=False,
        schema="gristmill",
        postgresql_where=sa.text("exclusive AND finished_at IS NULL"),
    )
    op.create_index(
        "ix_jobs_scheduled",
        "jobs",
        ["run_at"],
        unique=False,
        schema="gristmill",
        postgresql_where=sa.text("seq IS NULL AND finished_at IS NULL"),
    )
    op.create_index(
        "ix_jobs_scope_exclusive",
        "jobs",
        ["scope", "seq"],
        unique=False,
        schema="gristmill",
        postgresql_where="exclusive",
    )
    op.create_table(
        "leases",
        sa.Column("job_id", sa.UUID(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_leases")),
        schema="gristmill",
        postgresql_with={
            "fillfactor": 50,
            "autovacuum_vacuum_scale_factor": 0.0,
            "autovacuum_vacuum_threshold": 1000,
            "autovacuum_analyze_scale_factor": 0.02,
            "autovacuum_vacuum_cost_delay": 0,
        },
    )
    op.create_table(
        "payloads",
        sa.Column("job_id", sa.UUID(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.Integer(), nullable=False),
        sa.Column("data", postgresql.BYTEA(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_payloads")),
        schema="gristmill",
        postgresql_with={
            "fillfactor": 100,
            "autovacuum_vacuum_scale_factor": 0.0,
            "autovacuum_vacuum_threshold": 5000,
            "autovacuum_analyze_scale_factor": 0.02,
            "autovacuum_vacuum_cost_delay": 0,
            "toast.autovacuum_vacuum_scale_factor": 0.0,
            "toast.autovacuum_vacuum_threshold": 5000,
        },
    )
    op.create_table(
        "processes",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=True),
        sa.Column("slots", sa.Integer(), server_default="0", nullable=False),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("beat_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_processes")),
        schema="gristmill",
    )
    op.create_table(
        "chunks",
        sa.Column("job_id", sa.UUID(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, comment="from 0"),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=True, comment="the job's number"),
        sa.Column("run_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("first_record", sa.BigInteger(), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("dispatch", sa.Integer(), server_default="0", nullable=False),
        sa.Column("resends", sa.Integer(), server_default="0", nullable=False),
        sa.Column("fence", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("sent_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("claimed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("error", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("xact", sa.BIGINT(), nullable=True, comment="pg_current_xact_id of the commit, for followers"),
        sa.CheckConstraint(
            "state IN ('waiting', 'sent', 'running', 'done', 'failed', 'cancelled')", name=op.f("ck_chunks_state")
        ),
        sa.ForeignKeyConstraint(["job_id"], ["gristmill.jobs.id"], name=op.f("fk_chunks_job_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_chunks")),
        schema="gristmill",
        postgresql_with={
            "fillfactor": 70,
            "autovacuum_vacuum_scale_factor": 0.0,
            "autovacuum_vacuum_threshold": 5000,
            "autovacuum_analyze_scale_factor": 0.02,
            "autovacuum_vacuum_cost_delay": 0,
        },
    )
    op.create_index(
        "ix_chunks_running",
        "chunks",
        ["job_id"],
        unique=False,
        schema="gristmill",
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_index(
        "ix_chunks_sent",
        "chunks",
        ["queue", "sent_at"],
        unique=False,
        schema="gristmill",
        postgresql_where=sa.text("state = 'sent'"),
    )
    op.create_index(
        "ix_chunks_waiting",
        "chunks",
        ["queue", sa.literal_column("priority DESC"), "seq", "number"],
        unique=False,
        schema="gristmill",
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "dataset_versions",
        sa.Column("dataset_id", sa.UUID(), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False, comment="from 1"),
        sa.Column("contract", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("job_id", sa.UUID(), nullable=True, comment="the job that applies it"),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("state IN ('pending', 'applied', 'failed')", name=op.f("ck_dataset_versions_state")),
        sa.ForeignKeyConstraint(["dataset_id"], ["gristmill.datasets.id"], name=op.f("fk_dataset_versions_dataset_id")),
        sa.PrimaryKeyConstraint("dataset_id", "version", name=op.f("pk_dataset_versions")),
        schema="gristmill",
    )
    op.create_table(
        "segments",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("dataset_id", sa.UUID(), nullable=False),
        sa.Column("lo", sa.BigInteger(), nullable=False, comment="first _id of the range"),
        sa.Column("hi", sa.BigInteger(), nullable=False, comment="first _id after the range"),
        sa.Column("index_name", sa.Text(), nullable=False, comment="the partial HNSW index, in the schema of the data"),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("rows", sa.BigInteger(), server_default="0", nullable=False, comment="at the time of the build"),
        sa.Column("job_id", sa.UUID(), nullable=True, comment="the job that builds or built it"),
        sa.Column("built_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('building', 'ready', 'dropping')", name=op.f("ck_segments_state")),
        sa.CheckConstraint("lo < hi", name=op.f("ck_segments_range")),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["gristmill.datasets.id"], name=op.f("fk_segments_dataset_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_segments")),
        schema="gristmill",
    )
    op.create_index("ix_segments_dataset", "segments", ["dataset_id", "state", "lo"], unique=False, schema="gristmill")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.drop_index("ix_segments_dataset", table_name="segments", schema="gristmill")
    op.drop_table("segments", schema="gristmill")
    op.drop_table("dataset_versions", schema="gristmill")
    op.drop_index(
        "ix_chunks_waiting", table_name="chunks", schema="gristmill", postgresql_where=sa.text("state = 'waiting'")
    )
    op.drop_index("ix_chunks_sent", table_name="chunks", schema="gristmill", postgresql_where=sa.text("state = 'sent'"))
    op.drop_index(
        "ix_chunks_running", table_name="chunks", schema="gristmill", postgresql_where=sa.text("state = 'running'")
    )
    op.drop_table("chunks", schema="gristmill")
    op.drop_table("processes", schema="gristmill")
    op.drop_table("payloads", schema="gristmill")
    op.drop_table("leases", schema="gristmill")
    op.drop_index("ix_jobs_scope_exclusive", table_name="jobs", schema="gristmill", postgresql_where="exclusive")
    op.drop_index(
        "ix_jobs_scheduled",
        table_name="jobs",
        schema="gristmill",
        postgresql_where=sa.text("seq IS NULL AND finished_at IS NULL"),
    )
    op.drop_index(
        "ix_jobs_live_exclusive",
        table_name="jobs",
        schema="gristmill",
        postgresql_where=sa.text("exclusive AND finished_at IS NULL"),
    )
    op.drop_index(
        "ix_jobs_live", table_name="jobs", schema="gristmill", postgresql_where=sa.text("finished_at IS NULL")
    )
    op.drop_index(
        "ix_jobs_finished", table_name="jobs", schema="gristmill", postgresql_where=sa.text("finished_at IS NOT NULL")
    )
    op.drop_index("ix_jobs_dataset", table_name="jobs", schema="gristmill")
    op.drop_index(
        "ix_jobs_cancelling",
        table_name="jobs",
        schema="gristmill",
        postgresql_where=sa.text("cancelled_at IS NOT NULL AND finished_at IS NULL"),
    )
    op.drop_table("jobs", schema="gristmill")
    op.drop_index("ix_idempotency_keys_created_at", table_name="idempotency_keys", schema="gristmill")
    op.drop_table("idempotency_keys", schema="gristmill")
    op.drop_index(
        "uq_datasets_live_name",
        table_name="datasets",
        schema="gristmill",
        postgresql_where=sa.text("state IN ('creating', 'ready', 'failed')"),
    )
    op.drop_table("datasets", schema="gristmill")
    op.drop_table("counters", schema="gristmill")
    op.drop_index(
        "uq_api_keys_name", table_name="api_keys", schema="gristmill", postgresql_where=sa.text("revoked_at IS NULL")
    )
    op.drop_index("uq_api_keys_hash", table_name="api_keys", schema="gristmill")
    op.drop_table("api_keys", schema="gristmill")
    op.execute("DROP SEQUENCE gristmill.job_number")
    # The tables of the datasets and the extension stay: dropping them would destroy what users stored.
