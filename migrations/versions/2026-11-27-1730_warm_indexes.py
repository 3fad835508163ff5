"""Indexes are read into memory after a restart; how long their builds took."""

from alembic import op

revision = "2026_11_27_1730"
down_revision = "2026_11_27_1000"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    # It is no trusted extension: a user who is no superuser may not create it, and some services have none. Indexes are
    # then read when searches need them; an administrator can create it later.
    op.execute("""
        DO $$ BEGIN
            CREATE EXTENSION IF NOT EXISTS pg_prewarm;
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'The extension pg_prewarm is not installed, so indexes are not read in advance: %', SQLERRM;
        END $$""")
    op.execute("ALTER TABLE gristmill.segments ADD COLUMN build_seconds float8, ADD COLUMN build_helpers integer")
    op.execute("COMMENT ON COLUMN gristmill.segments.build_seconds IS 'that Postgres took for its index'")
    op.execute("COMMENT ON COLUMN gristmill.segments.build_helpers IS 'processes that helped it'")
    op.execute("""
        CREATE TABLE gristmill.index_warmups (
            one boolean NOT NULL DEFAULT true,
            started_at timestamptz NOT NULL,
            noted_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT pk_index_warmups PRIMARY KEY (one),
            CONSTRAINT ck_index_warmups_one CHECK (one)
        )""")
    op.execute("COMMENT ON COLUMN gristmill.index_warmups.one IS 'there is one row'")
    op.execute(
        "COMMENT ON COLUMN gristmill.index_warmups.started_at IS 'the start of Postgres whose memory was filled'"
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    # The extension stays: others may use it.
    op.execute("DROP TABLE gristmill.index_warmups")
    op.execute("ALTER TABLE gristmill.segments DROP COLUMN build_seconds, DROP COLUMN build_helpers")
