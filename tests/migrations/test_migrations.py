"""The migrations go up, down and up again, and end in exactly the schema that the code declares."""

import importlib
import os
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from tests.support.servers import add_database

import gristmill
import gristmill.bootstrap.shared  # Makes every domain declare its tables.
from gristmill.core.database import SCHEMA, Database, metadata
from gristmill.core.migrate import downgrade, upgrade
from gristmill.core.prepared import Prepared
from gristmill.datasets.tables import DATASET_STATES, VERSION_STATES
from gristmill.jobs.repository.submit import Guard
from gristmill.jobs.states import ChunkState, JobState
from gristmill.search.tables import SEGMENT_STATES

# Everything that makes up the schema, as Postgres itself writes it down.
CATALOGUE = {
    "columns": """
        SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
            pg_get_expr(d.adbin, d.adrelid), co.collname, col_description(c.oid, a.attnum)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r'
        LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        LEFT JOIN pg_collation co ON co.oid = a.attcollation
        WHERE c.relnamespace = 'gristmill'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped""",
    "constraints": """
        SELECT c.conrelid::regclass::text, c.conname, pg_get_constraintdef(c.oid) FROM pg_constraint c
        WHERE c.connamespace = 'gristmill'::regnamespace""",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'gristmill'",
    "storage": """
        SELECT c.relname, c.relkind, c.relpersistence,
            (SELECT array_agg(o ORDER BY o) FROM unnest(c.reloptions) o),
            (SELECT array_agg(o ORDER BY o) FROM unnest(t.reloptions) o)
        FROM pg_class c LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
        WHERE c.relnamespace = 'gristmill'::regnamespace AND c.relkind IN ('r', 'S')""",
}


def empty_database() -> str:
    return add_database(os.environ["GRISTMILL_TEST_POSTGRES"])


@pytest.fixture
def migrated() -> Iterator[Database]:
    """A database that the migrations made."""
    url = empty_database()
    upgrade(url)
    found = Database(url, "test-migrated", pool=2)
    yield found
    found.close()


def catalogue(database: Database) -> dict[str, list[Any]]:
    """Everything in the schema but the migrations' own table."""
    with database.autocommit() as connection:
        return {
            what: sorted(
                (tuple(row) for row in connection.exec_driver_sql(query) if "alembic" not in str(row)), key=str
            )
            for what, query in CATALOGUE.items()
        }


def prepared_statements() -> list[Prepared]:
    """Every statement of the package that is prepared."""
    names = [module.name for module in pkgutil.walk_packages(gristmill.__path__, "gristmill.")]
    # Those of frameworks would start what they are for.
    names = [name for name in names if name.split(".")[1] not in ("worker", "dispatcher", "api", "cli", "stack")]
    modules = [importlib.import_module(name) for name in names]
    found = [value for module in modules for value in vars(module).values()]
    found += [part for value in found if isinstance(value, Guard) for part in (value.look, value.insert)]
    return list({one.name: one for one in found if isinstance(one, Prepared)}.values())


class TestMigrations:
    def test_up_down_up(self, migrated: Database) -> None:
        url = migrated.url.set(drivername="postgresql").render_as_string(hide_password=False)
        first = catalogue(migrated)
        assert first["columns"]
        downgrade(url, "base")
        assert not any(catalogue(migrated).values()), "nothing is left behind"
        upgrade(url)
        assert catalogue(migrated) == first

    def test_a_second_run_changes_nothing(self, migrated: Database) -> None:
        first = catalogue(migrated)
        upgrade(migrated.url.set(drivername="postgresql").render_as_string(hide_password=False))
        assert catalogue(migrated) == first

    def test_alembic_finds_no_difference_to_the_metadata(self, migrated: Database) -> None:
        # The user is named like the schema, so Postgres would take it for the default one, which Alembic leaves out.
        engine = sa.create_engine(migrated.url, connect_args={"options": "-c search_path=public"})
        with engine.connect() as connection:
            context = MigrationContext.configure(
                connection,
                opts={
                    "include_schemas": True,
                    "include_name": lambda name, kind, parents: name == SCHEMA if kind == "schema" else True,
                    "version_table_schema": SCHEMA,
                    "compare_server_default": True,
                },
            )
            assert compare_metadata(context, metadata) == []
        engine.dispose()

    def test_postgres_describes_both_in_the_same_words(self, migrated: Database) -> None:
        """What Alembic does not look at: CHECK constraints, predicates of indexes, storage parameters, comments."""
        declared = Database(empty_database(), "test-declared", pool=1)
        with declared.transaction() as connection:
            connection.execute(sa.schema.CreateSchema(SCHEMA))
            metadata.create_all(connection)
        expected, found = catalogue(declared), catalogue(migrated)
        declared.close()
        for what in CATALOGUE:
            assert found[what] == expected[what], what

    def test_what_was_prepared_before_a_migration_that_adds_columns_goes_on(self, migrated: Database) -> None:
        """Processes of the release before run on while a new one migrates."""
        statements = prepared_statements()
        assert len(statements) > 5
        with migrated.autocommit() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement.prepare.replace("%", "%%"))
            for table in metadata.tables.values():
                connection.exec_driver_sql(f"ALTER TABLE {table.fullname} ADD COLUMN added_later integer")
            changed = []
            for statement in statements:
                nulls = ", ".join(["NULL"] * len(statement.types))
                try:
                    connection.exec_driver_sql(f"EXECUTE {statement.name} ({nulls})" if nulls else statement.execute)
                except sa.exc.DBAPIError as error:
                    # What else a statement makes of nulls is not asked here.
                    if "cached plan" in str(error):
                        changed.append(statement.prepare)
        assert changed == []

    def test_the_sequence_of_job_numbers_is_there(self, migrated: Database) -> None:
        with migrated.transaction() as connection:
            assert connection.exec_driver_sql("SELECT nextval('gristmill.job_number')").scalar() == 1


class TestStates:
    @pytest.mark.parametrize(
        ("constraint", "states"),
        [
            ("ck_jobs_state", set(JobState)),
            ("ck_chunks_state", set(ChunkState)),
            ("ck_datasets_state", set(DATASET_STATES)),
            ("ck_dataset_versions_state", set(VERSION_STATES)),
            ("ck_segments_state", set(SEGMENT_STATES)),
        ],
    )
    def test_the_database_admits_the_states_of_the_code(
        self, migrated: Database, constraint: str, states: set[str]
    ) -> None:
        with migrated.autocommit() as connection:
            query = sa.text("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = :name")
            definition = connection.execute(query, {"name": constraint}).scalar_one()
        assert set(re.findall(r"'([a-z]+)'", definition)) == {str(state) for state in states}
