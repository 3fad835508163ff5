"""The batch of a record: tables of datasets get ``_batch``, and the newest batch of a scope is found by an index."""

from alembic import op

revision = "2026_11_26_1830"
down_revision = "2026_11_26_0830"
branch_labels = None
depends_on = None

_ABOUT = "the job that brought the record, where another has changed it since"
# One statement for each table of a dataset.
_EACH = """
DO $$ DECLARE name text; BEGIN
    FOR name IN
        SELECT c.relname FROM pg_class AS c
        WHERE c.relnamespace = to_regnamespace('data') AND c.relkind = 'r'
            AND obj_description(c.oid, 'pg_class') LIKE 'gristmill dataset %'
            AND EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = c.oid AND a.attname = '_seq')
    LOOP
        {}
    END LOOP;
END $$
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    # A nullable column without a default: no row is rewritten.
    op.execute(_EACH.format("EXECUTE format('ALTER TABLE data.%I ADD COLUMN IF NOT EXISTS _batch bigint', name);"))
    op.execute(_EACH.format(f"EXECUTE format('COMMENT ON COLUMN data.%I._batch IS %L', name, '{_ABOUT}');"))
    op.execute(
        "CREATE INDEX ix_jobs_batches ON gristmill.jobs (scope, seq)"
        " WHERE finished_at IS NOT NULL AND type IN ('records.ingest', 'records.merge')"
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("DROP INDEX gristmill.ix_jobs_batches")
    op.execute(_EACH.format("EXECUTE format('ALTER TABLE data.%I DROP COLUMN IF EXISTS _batch CASCADE', name);"))
