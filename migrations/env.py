"""Alembic's environment: one connection, an advisory lock so that only one process migrates, a lock timeout."""

from alembic import context
from sqlalchemy import create_engine, pool, text
from sqlalchemy.engine import make_url

import gristmill.bootstrap.shared  # noqa: F401 - makes every domain declare its tables
from gristmill.core.database import SCHEMA, metadata

url = make_url(context.config.attributes["url"]).set(drivername="postgresql+psycopg2")


def include_name(name: str | None, kind: str, parents: dict[str, str | None]) -> bool:
    """Only the system schema belongs to the migrations; dataset tables are made by jobs."""
    return name == SCHEMA if kind == "schema" else True


def run() -> None:
    engine = create_engine(url, poolclass=pool.NullPool, connect_args={"application_name": "gristmill-migrate"})
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(7041, 0)"))
        connection.execute(text("SET lock_timeout = '10s'"))
        # A user called gristmill would otherwise have the system schema as the default one, and a comparison of the
        # schema would find every table twice.
        connection.execute(text("SET search_path = public"))
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}"))
        connection.commit()
        context.configure(
            connection=connection,
            target_metadata=metadata,
            version_table_schema=SCHEMA,
            include_schemas=True,
            include_name=include_name,
            compare_server_default=True,
            transaction_per_migration=True,
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.execute(text("SELECT pg_advisory_unlock(7041, 0)"))
        connection.commit()
    engine.dispose()


run()
