"""Searches by a target of recall: rows held out of graphs, what was learnt of each graph, vectors searched by."""

from alembic import op

revision = "2026_11_27_1800"
down_revision = "2026_11_27_1730"
branch_labels = None
depends_on = None

_COMMENTS = {
    "segments.held_step": "of so many blocks of 16 ids one is not in the graph; 0: all are",
    "segment_curves.curve": "recall by k and ef, its standard error, how many queries, and where they came from",
    "segment_curves.took_ms": "how long learning it took",
    "recall.target": "of the contract at the time",
    "kept_queries.slot": "a new vector takes the place of another one, drawn at random",
    "kept_queries.vector": "as pgvector writes it",
}


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("ALTER TABLE gristmill.segments ADD COLUMN held_step bigint NOT NULL DEFAULT '0'")
    op.execute("""
        CREATE TABLE gristmill.segment_curves (
            segment_id bigint NOT NULL,
            curve jsonb NOT NULL,
            took_ms double precision NOT NULL,
            learnt_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT pk_segment_curves PRIMARY KEY (segment_id),
            CONSTRAINT fk_segment_curves_segment_id FOREIGN KEY (segment_id)
                REFERENCES gristmill.segments (id) ON DELETE CASCADE
        )""")
    op.execute("""
        CREATE TABLE gristmill.kept_queries (
            dataset_id uuid NOT NULL,
            slot integer NOT NULL,
            vector text NOT NULL,
            kept_at timestamptz NOT NULL DEFAULT now(),
            CONSTRAINT pk_kept_queries PRIMARY KEY (dataset_id, slot),
            CONSTRAINT fk_kept_queries_dataset_id FOREIGN KEY (dataset_id)
                REFERENCES gristmill.datasets (id) ON DELETE CASCADE
        )""")
    op.execute("ALTER TABLE gristmill.recall ADD COLUMN target double precision NOT NULL DEFAULT '0.98'")
    for column, comment in _COMMENTS.items():
        op.execute(f"COMMENT ON COLUMN gristmill.{column} IS '{comment}'")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("ALTER TABLE gristmill.recall DROP COLUMN target")
    op.execute("DROP TABLE gristmill.kept_queries")
    op.execute("DROP TABLE gristmill.segment_curves")
    op.execute("ALTER TABLE gristmill.segments DROP COLUMN held_step")
