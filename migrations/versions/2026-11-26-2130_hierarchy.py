"""Datasets count the changes of what is below them: a job that deletes records knows whether it knows all of that."""

from alembic import op

revision = "2026_11_26_2130"
down_revision = "2026_11_26_1900"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("ALTER TABLE gristmill.datasets ADD COLUMN hierarchy integer NOT NULL DEFAULT '0'")
    op.execute(
        "COMMENT ON COLUMN gristmill.datasets.hierarchy IS"
        " 'rises when a dataset below gets parents; 0 where no dataset has named this one as its parent''s'"
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("ALTER TABLE gristmill.datasets DROP COLUMN hierarchy")
