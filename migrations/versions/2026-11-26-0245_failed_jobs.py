"""Failed jobs have an index of their own: cleanup looks for those that might be retried."""

from alembic import op

revision = "2026_11_26_0245"
down_revision = "2026_11_25_2300"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("CREATE INDEX ix_jobs_failed ON gristmill.jobs (finished_at) WHERE chunks_failed > 0")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("DROP INDEX gristmill.ix_jobs_failed")
