"""Sizes of tables, told apart; statistics that follow loads; storage settings as Postgres has them."""

import json
from typing import Any

import pytest
from tests.support.in_process import NDJSON, InProcess
from tests.support.system import eventually

from gristmill.datasets.statistics import LEAST_CHANGES, Analyzer

NOTES: dict[str, Any] = {
    "fields": [{"name": "k", "type": "integer", "required": True}, {"name": "note", "type": "text"}],
    "key": ["k"],
}


@pytest.fixture
def app(fresh_app: InProcess) -> InProcess:
    """They count all that there is, and lose tables."""
    return fresh_app


def create(app: InProcess) -> str:
    """Make a dataset whose table Postgres does not analyse by itself: it would come first now and then."""
    name = app.dataset(NOTES)
    app.work()
    with app.gristmill.database.transaction() as connection:
        connection.exec_driver_sql(f"ALTER TABLE data.{name} SET (autovacuum_enabled = false)")
    return name


def load(app: InProcess, name: str, first: int, count: int, note: str = "short") -> None:
    lines = [json.dumps({"k": k, "note": note}) for k in range(first, first + count)]
    job = app.job(app.post(name, "\n".join(lines).encode(), headers=NDJSON))
    assert job["state"] == "succeeded"
    # A backend says what it did up to ten seconds later, or when it ends.
    app.gristmill.database.close()
    told = f"SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = '{name}'"
    rows = scalar(app, f"SELECT count(*) FROM data.{name}")
    eventually(lambda: scalar(app, told) == rows, "the backends have told what they did")


def scalar(app: InProcess, query: str) -> Any:
    with app.gristmill.database.transaction() as connection:
        return connection.exec_driver_sql(query).scalar()


class TestSizes:
    def test_bytes_are_told_apart_and_add_up_to_what_postgres_says(self, app: InProcess) -> None:
        name = app.dataset({**NOTES, "embedding": {"from": ["note"], "embedder": "hashing"}})
        # Random enough that compression leaves it too long for a row.
        long = " ".join(f"{n * 2654435761 % 2**32:x}" for n in range(1500))
        load(app, name, 0, 50, long)
        with app.gristmill.database.transaction() as connection:
            connection.exec_driver_sql(
                f"CREATE INDEX {name}__seg1 ON data.{name} USING hnsw (_embedding vector_cosine_ops) WHERE _id < 1000"
            )
        sizes = app.http.get(f"/api/v1/datasets/{name}").json()["sizes"]
        parts = ("table_bytes", "toast_bytes", "index_bytes", "vector_index_bytes")
        assert all(sizes[part] > 0 for part in parts), sizes
        assert sizes["total_bytes"] == sum(sizes[part] for part in parts)
        assert sizes["total_bytes"] == scalar(app, f"SELECT pg_total_relation_size('data.{name}')")
        assert sizes["vector_index_bytes"] == scalar(app, f"SELECT pg_relation_size('data.{name}__seg1')")

    def test_one_dataset_is_counted_and_a_list_is_estimated(self, app: InProcess) -> None:
        name = create(app)
        load(app, name, 0, 1234)
        one = app.http.get(f"/api/v1/datasets/{name}").json()
        assert (one["rows"], one["rows_exact"]) == (1234, True)
        assert Analyzer(app.gristmill.database).run() == name
        (listed,) = app.http.get("/api/v1/datasets").json()["datasets"]
        assert (listed["rows"], listed["rows_exact"]) == (1234, False)
        assert listed["sizes"] == app.http.get(f"/api/v1/datasets/{name}").json()["sizes"]

    def test_a_dataset_without_a_table_has_nothing(self, app: InProcess) -> None:
        name = app.dataset(NOTES)
        for body in (
            app.http.get(f"/api/v1/datasets/{name}").json(),
            *app.http.get("/api/v1/datasets").json()["datasets"],
        ):
            assert (body["rows"], body["sizes"]["total_bytes"]) == (0, 0)


class TestAnalyzing:
    def test_a_loaded_table_is_analysed_once_and_again_when_half_has_changed(self, app: InProcess) -> None:
        name = create(app)
        analyzer = Analyzer(app.gristmill.database)
        load(app, name, 0, LEAST_CHANGES + 500)
        assert analyzer.run() == name
        assert scalar(app, f"SELECT reltuples FROM pg_class WHERE oid = 'data.{name}'::regclass") == 1500
        assert analyzer.run() is None
        load(app, name, 10_000, 1000)
        assert analyzer.run() is None, "a thousand of 2,500 is less than half"
        load(app, name, 20_000, 1000)
        assert analyzer.run() == name
        assert scalar(app, f"SELECT reltuples FROM pg_class WHERE oid = 'data.{name}'::regclass") == 3500

    def test_a_table_that_is_locked_has_its_turn_later(self, app: InProcess) -> None:
        first, second = create(app), create(app)
        load(app, first, 0, 3000)
        load(app, second, 0, 2000)
        analyzer = Analyzer(app.gristmill.database)
        with app.gristmill.database.transaction() as connection:
            # What CREATE INDEX CONCURRENTLY holds.
            connection.exec_driver_sql(f"LOCK TABLE data.{first} IN SHARE UPDATE EXCLUSIVE MODE")
            assert analyzer.run() is None
            assert analyzer.run() == second
        assert analyzer.run() == first


class TestStorage:
    def test_rows_and_values_out_of_line_are_vacuumed_alike(self, app: InProcess) -> None:
        name = app.dataset(NOTES)
        app.work()
        tables = f"FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid WHERE c.oid = 'data.{name}'::regclass"
        rows = set(scalar(app, f"SELECT c.reloptions {tables}"))
        assert {"autovacuum_vacuum_scale_factor=0.05", "autovacuum_analyze_scale_factor=0.02"} <= rows
        out_of_line = set(scalar(app, f"SELECT t.reloptions {tables}"))
        assert out_of_line == {part for part in rows if part.startswith("autovacuum_vacuum")}

    def test_a_table_without_long_values_takes_the_same_settings(self, app: InProcess) -> None:
        name = app.dataset({"fields": [{"name": "n", "type": "integer"}]})
        app.work()
        assert app.http.get(f"/api/v1/datasets/{name}").json()["state"] == "ready"
