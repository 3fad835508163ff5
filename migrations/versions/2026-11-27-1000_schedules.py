"""Schedules: jobs that are submitted at their times."""

from alembic import op

revision = "2026_11_27_1000"
down_revision = "2026_11_27_0140"
branch_labels = None
depends_on = None

_COMMENTS = {
    "type": "of its jobs",
    "start": "from which intervals are counted",
    "error": "why it was paused, or what it waits for: a problem object",
    "next_run_at": "null while it is paused",
    "last_run_at": "the time for which a job was submitted last",
    "skipped": "left out: the job before ran",
    "created_by": "the principal that its jobs are submitted by",
    "owned_since": "a later key of the same name is another one",
    "created_key": "Idempotency-Key and digest of the request that created it",
}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("""
        CREATE TABLE gristmill.schedules (
            id uuid NOT NULL,
            name text NOT NULL,
            type text NOT NULL,
            args jsonb NOT NULL,
            max_attempts smallint,
            labels jsonb NOT NULL DEFAULT '{}',
            priority smallint NOT NULL DEFAULT '5',
            cron text,
            every text,
            zone text NOT NULL,
            start timestamptz NOT NULL,
            overlap text NOT NULL CONSTRAINT ck_schedules_overlap CHECK (overlap IN ('allow', 'skip')),
            state text NOT NULL CONSTRAINT ck_schedules_state CHECK (state IN ('running', 'paused')),
            error jsonb,
            next_run_at timestamptz,
            last_run_at timestamptz,
            last_job uuid,
            runs bigint NOT NULL DEFAULT '0',
            skipped bigint NOT NULL DEFAULT '0',
            created_by text NOT NULL,
            owned_since timestamptz NOT NULL,
            created_key text,
            created_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT pk_schedules PRIMARY KEY (id),
            CONSTRAINT ck_schedules_timing CHECK ((cron IS NULL) <> (every IS NULL)),
            CONSTRAINT ck_schedules_next_run CHECK ((state = 'running') = (next_run_at IS NOT NULL))
        ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000)""")
    for column, comment in _COMMENTS.items():
        op.execute(f"COMMENT ON COLUMN gristmill.schedules.{column} IS '{comment}'")
    op.execute("CREATE UNIQUE INDEX uq_schedules_name ON gristmill.schedules (name)")
    op.execute(
        "CREATE INDEX ix_schedules_next_run_at ON gristmill.schedules (next_run_at) WHERE next_run_at IS NOT NULL"
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("DROP TABLE gristmill.schedules")
