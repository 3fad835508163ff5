"""Further scopes of unfinished jobs have an index of their own: a long history does not slow the dispatcher down."""

from alembic import op

revision = "2026_11_25_2300"
down_revision = "2026_11_25_2240"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("ALTER TABLE gristmill.further_scopes ADD COLUMN finished boolean NOT NULL DEFAULT false")
    op.execute("COMMENT ON COLUMN gristmill.further_scopes.finished IS 'the job has finished'")
    op.execute("CREATE INDEX ix_further_scopes_live ON gristmill.further_scopes (scope, exclusive) WHERE NOT finished")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("DROP INDEX gristmill.ix_further_scopes_live")
    op.execute("ALTER TABLE gristmill.further_scopes DROP COLUMN finished")
