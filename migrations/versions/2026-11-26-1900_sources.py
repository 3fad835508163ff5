"""Sources: what submits records continuously."""

from alembic import op

revision = "2026_11_26_1900"
down_revision = "2026_11_26_1830"
branch_labels = None
depends_on = None

_COMMENTS = {
    "position": "where reading goes on; null at the very beginning",
    "epoch": "rises with each lease and each change",
    "owner": "the runner that has the lease",
    "created_key": "Idempotency-Key and digest of the request that created it",
    "records": "accepted ones",
    "failures": "in a row",
    "rate": "records per second",
    "lag_since": "since when the oldest record that is not submitted has been ready",
    "reported_at": "when the runner said so",
}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("""
        CREATE TABLE gristmill.sources (
            id uuid NOT NULL,
            name text NOT NULL,
            kind text NOT NULL,
            settings jsonb NOT NULL,
            dataset_id uuid NOT NULL,
            labels jsonb NOT NULL DEFAULT '{}',
            priority smallint NOT NULL DEFAULT '5',
            state text NOT NULL DEFAULT 'running'
                CONSTRAINT ck_sources_state CHECK (state IN ('running', 'paused', 'failed', 'finished')),
            position jsonb,
            epoch integer NOT NULL DEFAULT '0',
            owner text,
            lease_until timestamptz,
            created_by text NOT NULL,
            created_key text,
            created_at timestamptz NOT NULL DEFAULT now(),
            batches bigint NOT NULL DEFAULT '0',
            records bigint NOT NULL DEFAULT '0',
            rejected bigint NOT NULL DEFAULT '0',
            last_batch_at timestamptz,
            last_job uuid,
            failures integer NOT NULL DEFAULT '0',
            last_error jsonb,
            last_error_at timestamptz,
            waits_for text,
            rate double precision NOT NULL DEFAULT '0',
            lag_records bigint NOT NULL DEFAULT '0',
            lag_since timestamptz,
            reported_at timestamptz,
            CONSTRAINT pk_sources PRIMARY KEY (id),
            CONSTRAINT ck_sources_lease CHECK ((owner IS NULL) = (lease_until IS NULL)),
            CONSTRAINT ck_sources_only_running_is_leased CHECK (state = 'running' OR owner IS NULL)
        ) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000)""")
    for column, comment in _COMMENTS.items():
        op.execute(f"COMMENT ON COLUMN gristmill.sources.{column} IS '{comment}'")
    op.execute("CREATE UNIQUE INDEX uq_sources_name ON gristmill.sources (name)")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("DROP TABLE gristmill.sources")
