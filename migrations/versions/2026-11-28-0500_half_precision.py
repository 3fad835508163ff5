"""Graphs of the directions of vectors, as 16-bit floats: which segments have one."""

from alembic import op

revision = "2026_11_28_0500"
down_revision = "2026_11_27_1800"
branch_labels = None
depends_on = None

_COMMENT = "its graph holds the directions of the vectors as 16-bit floats"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("ALTER TABLE gristmill.segments ADD COLUMN half_precision boolean NOT NULL DEFAULT false")
    op.execute(f"COMMENT ON COLUMN gristmill.segments.half_precision IS '{_COMMENT}'")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    # The version before would compare all records of such a segment: it builds its own instead.
    op.execute("UPDATE gristmill.segments SET state = 'dropping' WHERE half_precision")
    op.execute("ALTER TABLE gristmill.segments DROP COLUMN half_precision")
