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
    op.execute("ALTER TABLE gristmill.leases ADD COLUMN progress real NOT NULL DEFAULT '0'")
    op.execute("COMMENT ON COLUMN gristmill.leases.progress IS 'share of the chunk that is done, 0 to 1'")
    op.execute("ALTER TABLE gristmill.chunks ADD COLUMN shares boolean NOT NULL DEFAULT false")
    op.execute("COMMENT ON COLUMN gristmill.chunks.shares IS 'small: may share a message with chunks of other jobs'")
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
    op.execute("ALTER TABLE gristmill.segments DROP CONSTRAINT ck_segments_state")
    op.execute("""
        ALTER TABLE gristmill.segments ADD CONSTRAINT ck_segments_state
            CHECK (state IN ('building', 'built', 'ready', 'dropping'))""")
    op.execute("""
        CREATE TABLE gristmill.index_settings (
            dataset_id uuid NOT NULL,
            hold boolean NOT NULL,
            changed_by text NOT NULL,
            changed_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT pk_index_settings PRIMARY KEY (dataset_id),
            CONSTRAINT fk_index_settings_dataset_id FOREIGN KEY (dataset_id)
                REFERENCES gristmill.datasets (id) ON DELETE CASCADE
        )""")
    op.execute("COMMENT ON COLUMN gristmill.index_settings.hold IS 'no builds but those asked for'")
    op.execute("""
        CREATE TABLE gristmill.recall (
            dataset_id uuid NOT NULL,
            k integer NOT NULL,
            value double precision NOT NULL,
            samples integer NOT NULL,
            segments bigint NOT NULL,
            highest bigint NOT NULL,
            changes bigint NOT NULL,
            took_ms double precision NOT NULL,
            measured_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT pk_recall PRIMARY KEY (dataset_id),
            CONSTRAINT fk_recall_dataset_id FOREIGN KEY (dataset_id)
                REFERENCES gristmill.datasets (id) ON DELETE CASCADE
        )""")
    op.execute("COMMENT ON COLUMN gristmill.recall.value IS 'part of the k nearest that a search finds'")
    op.execute("COMMENT ON COLUMN gristmill.recall.samples IS 'searches compared; 0: all are exact'")
    op.execute("COMMENT ON COLUMN gristmill.recall.segments IS 'sum of the ids of the segments that were measured'")
    op.execute("COMMENT ON COLUMN gristmill.recall.highest IS 'the last _id at the time'")
    op.execute("COMMENT ON COLUMN gristmill.recall.changes IS 'records replaced or deleted at the time'")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("ALTER TABLE gristmill.payloads ALTER COLUMN data SET STORAGE EXTENDED")
    op.execute("ALTER TABLE gristmill.leases DROP COLUMN progress")
    op.execute("ALTER TABLE gristmill.chunks DROP COLUMN shares")
    op.execute("DROP INDEX gristmill.ix_jobs_retry_of")
    op.execute("DROP TABLE gristmill.rejects")
    op.execute("DROP TABLE gristmill.retention")
    op.execute("DROP TABLE gristmill.recall")
    op.execute("DROP TABLE gristmill.index_settings")
    # The release before knows no parts of rebuilds: they are removed as it removes what was abandoned.
    op.execute("UPDATE gristmill.segments SET state = 'dropping' WHERE state = 'built'")
    op.execute("ALTER TABLE gristmill.segments DROP CONSTRAINT ck_segments_state")
    op.execute("""
        ALTER TABLE gristmill.segments ADD CONSTRAINT ck_segments_state
            CHECK (state IN ('building', 'ready', 'dropping'))""")
