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


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("ALTER TABLE gristmill.payloads ALTER COLUMN data SET STORAGE EXTENDED")
