"""Rows at COPY speed: rejected records, progress of long chunks, measured recall."""

from alembic import op

revision = "2026_11_22_0130"
down_revision = "2026_11_21_0930"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    # Payloads are compressed as far as they can be before they get here: Postgres would try in vain, at pglz's speed.
    op.execute("ALTER TABLE gristmill.payloads ALTER COLUMN data SET STORAGE EXTERNAL")
    op.execute("""
        CREATE TABLE gristmill.rejects (
            job_id uuid NOT NULL,
            record bigint NOT NULL,
            line bigint,
            raw bytea NOT NULL,
            errors json NOT NULL,
            errors_total integer NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT pk_rejects PRIMARY KEY (job_id, record)
        ) WITH (autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_scale_factor = 0.05)""")
    op.execute("COMMENT ON COLUMN gristmill.rejects.record IS 'index in the request, from 0'")
    op.execute("COMMENT ON COLUMN gristmill.rejects.line IS 'in a body of lines, from 1'")
    op.execute("COMMENT ON COLUMN gristmill.rejects.raw IS 'the record as it was sent'")
    op.execute("COMMENT ON COLUMN gristmill.rejects.errors IS 'places, the first twenty'")
    op.execute("CREATE INDEX ix_jobs_retry_of ON gristmill.jobs (retry_of) WHERE retry_of IS NOT NULL")
    op.execute("""
        CREATE TABLE gristmill.retention (
            dataset_id uuid NOT NULL,
            last_run timestamptz NOT NULL DEFAULT now(),
            deleted bigint NOT NULL DEFAULT '0',
            CONSTRAINT pk_retention PRIMARY KEY (dataset_id)
        ) WITH (fillfactor = 50)""")
    op.execute("COMMENT ON COLUMN gristmill.retention.deleted IS 'records, since the beginning'")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("ALTER TABLE gristmill.payloads ALTER COLUMN data SET STORAGE EXTENDED")
    op.execute("DROP INDEX gristmill.ix_jobs_retry_of")
    op.execute("DROP TABLE gristmill.rejects")
    op.execute("DROP TABLE gristmill.retention")
