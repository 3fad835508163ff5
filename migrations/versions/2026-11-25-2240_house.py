"""Several scopes for a job, jobs whose chunks run one after another, records that a filter took, one end state."""

from alembic import op

revision = "2026_11_25_2240"
down_revision = "2026_11_22_0130"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("ALTER TABLE gristmill.jobs ADD COLUMN serial boolean NOT NULL DEFAULT false")
    op.execute("COMMENT ON COLUMN gristmill.jobs.serial IS 'its chunks run one after another'")
    op.execute("ALTER TABLE gristmill.jobs ADD COLUMN records_dropped bigint NOT NULL DEFAULT '0'")
    op.execute("COMMENT ON COLUMN gristmill.jobs.records_dropped IS 'records that a filter of the pipeline took'")
    op.execute("""
        CREATE TABLE gristmill.further_scopes (
            job_id uuid NOT NULL,
            scope text NOT NULL,
            exclusive boolean NOT NULL,
            CONSTRAINT pk_further_scopes PRIMARY KEY (job_id, scope),
            CONSTRAINT fk_further_scopes_job_id FOREIGN KEY (job_id) REFERENCES gristmill.jobs (id) ON DELETE CASCADE
        )""")
    op.execute("CREATE INDEX ix_further_scopes_scope ON gristmill.further_scopes (scope)")
    op.execute("""
        CREATE VIEW gristmill.scopes AS
        SELECT id AS job_id, seq, scope, exclusive, state, finished_at FROM gristmill.jobs
        UNION ALL
        SELECT j.id, j.seq, s.scope, s.exclusive, j.state, j.finished_at
        FROM gristmill.further_scopes s JOIN gristmill.jobs j ON j.id = s.job_id""")
    op.execute("""
        CREATE FUNCTION gristmill.end_state(total int, done int, failed int, cancelled int) RETURNS text
        LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
            SELECT CASE WHEN done + failed + cancelled < total THEN NULL
                WHEN failed > 0 THEN 'failed' WHEN cancelled > 0 THEN 'cancelled' ELSE 'succeeded' END
        $$""")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("DROP FUNCTION gristmill.end_state(int, int, int, int)")
    op.execute("DROP VIEW gristmill.scopes")
    op.execute("DROP TABLE gristmill.further_scopes")
    op.execute("ALTER TABLE gristmill.jobs DROP COLUMN records_dropped")
    op.execute("ALTER TABLE gristmill.jobs DROP COLUMN serial")
