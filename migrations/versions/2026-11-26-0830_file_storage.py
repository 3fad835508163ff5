"""The file storage of an installation, and stored exports."""

from alembic import op

revision = "2026_11_26_0830"
down_revision = "2026_11_26_0245"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("""
        CREATE TABLE gristmill.file_storage (
            one boolean NOT NULL DEFAULT true CONSTRAINT ck_file_storage_one_row CHECK (one),
            id uuid NOT NULL,
            place text NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT pk_file_storage PRIMARY KEY (one)
        )""")
    op.execute("COMMENT ON COLUMN gristmill.file_storage.place IS 'where the process that made the row saw it'")
    op.execute("""
        CREATE TABLE gristmill.exports (
            id uuid NOT NULL,
            dataset text NOT NULL,
            format text NOT NULL,
            file_name text NOT NULL,
            state text NOT NULL DEFAULT 'writing'
                CONSTRAINT ck_exports_state CHECK (state IN ('writing', 'ready', 'deleted', 'removed')),
            fence integer,
            bytes bigint,
            sha256 bytea,
            rows bigint,
            horizon text,
            secret bytea NOT NULL,
            keep_seconds double precision NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            ready_at timestamptz,
            expires_at timestamptz,
            CONSTRAINT pk_exports PRIMARY KEY (id),
            CONSTRAINT ck_exports_complete
                CHECK (state = 'writing' OR expires_at IS NOT NULL AND bytes IS NOT NULL)
        )""")
    op.execute("COMMENT ON COLUMN gristmill.exports.dataset IS 'its name; the export outlives the dataset'")
    op.execute("COMMENT ON COLUMN gristmill.exports.file_name IS 'as readers see it'")
    op.execute(
        "COMMENT ON COLUMN gristmill.exports.fence IS 'of the attempt whose file counts; null before one is complete'"
    )
    op.execute("COMMENT ON COLUMN gristmill.exports.secret IS 'signs links to the file'")
    op.execute("CREATE INDEX ix_exports_live ON gristmill.exports (id) WHERE state <> 'removed'")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("DROP TABLE gristmill.exports")
    op.execute("DROP TABLE gristmill.file_storage")
