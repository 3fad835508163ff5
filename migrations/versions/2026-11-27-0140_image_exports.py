"""Exports of images: how many records failed, and the parts that are made."""

from alembic import op

revision = "2026_11_27_0140"
down_revision = "2026_11_26_2130"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("ALTER TABLE gristmill.exports ADD COLUMN failed bigint")
    op.execute(
        "COMMENT ON COLUMN gristmill.exports.failed IS"
        " 'records that could not be exported; null for exports of one file'"
    )
    op.execute("""
        CREATE TABLE gristmill.image_export_parts (
            export_id uuid NOT NULL,
            number integer NOT NULL,
            fence integer NOT NULL,
            images bigint NOT NULL,
            failed bigint NOT NULL,
            bytes bigint NOT NULL,
            ended boolean NOT NULL DEFAULT false,
            CONSTRAINT pk_image_export_parts PRIMARY KEY (export_id, number),
            CONSTRAINT fk_image_export_parts_export_id FOREIGN KEY (export_id)
                REFERENCES gristmill.exports (id) ON DELETE CASCADE
        )""")
    for name, text in (
        ("number", "of the chunk, from 0"),
        ("fence", "of the attempt that made it"),
        ("bytes", "of its images and of what is said of them"),
    ):
        op.execute(f"COMMENT ON COLUMN gristmill.image_export_parts.{name} IS '{text}'")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("DROP TABLE gristmill.image_export_parts")
    # What is in the storage is removed as files that nobody knows of.
    op.execute("DELETE FROM gristmill.exports WHERE format = 'images'")
    op.execute("ALTER TABLE gristmill.exports DROP COLUMN failed")
