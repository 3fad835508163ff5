"""Tables of datasets on real Postgres: made, changed and dropped as their contracts say."""

import threading
import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from tests.support.values import CASES

from gristmill.core.database import Database
from gristmill.core.errors import Invalid
from gristmill.datasets import ddl
from gristmill.datasets.contract_checks import POSTGRES_COLUMNS
from gristmill.datasets.contract_parser import alter_contract, parse_contract
from gristmill.datasets.errors import TableBusy, TableExists
from gristmill.datasets.field_indexes.repository import create_index, list_wanted
from gristmill.datasets.field_indexes.tasks import list_missing
from gristmill.datasets.types import TYPES

EVERY_TYPE = {name: case.limits for name, case in CASES.items()} | {"decimal": {"precision": 10, "scale": 3}}
CONTRACT = parse_contract(
    {
        "name": "order",  # a reserved word of SQL, and a fair name for a dataset
        "fields": [
            {"name": "id", "type": "integer", "required": True},
            {"name": "at", "type": "timestamp", "required": True},
            *({"name": f"x_{name}", "type": name, **limits} for name, limits in EVERY_TYPE.items()),
            {"name": "select", "type": "text", "filterable": True},
        ],
        "key": ["id"],
        "time_field": "at",
        "embedding": {"dimensions": 4},
    }
)
OWNER = uuid.uuid4()


def columns(database: Database, table: str) -> dict[str, tuple[str, bool, str]]:
    """Return SQL type, whether null is forbidden, and the storage of each column."""
    sql = """
        SELECT attname, format_type(atttypid, atttypmod), attnotnull, attstorage::text FROM pg_attribute
        WHERE attrelid = to_regclass(:table) AND attnum > 0 AND NOT attisdropped ORDER BY attnum
    """
    with database.autocommit() as connection:
        rows = connection.execute(sa.text(sql), {"table": table}).all()
    return {name: (kind, required, storage) for name, kind, required, storage in rows}


def indexes(database: Database, table: str) -> dict[str, str]:
    with database.autocommit() as connection:
        sql = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'data' AND tablename = :table"
        return {row.indexname: row.indexdef for row in connection.execute(sa.text(sql), {"table": table})}


def create(database: Database, contract: Any = CONTRACT, owner: uuid.UUID = OWNER) -> None:
    with database.transaction() as connection:
        ddl.create_table(connection, contract, owner)


class TestCreate:
    def test_each_type_has_its_column(self, database: Database) -> None:
        create(database)
        found = columns(database, 'data."order"')
        kinds = {name.removeprefix("x_"): kind for name, (kind, _, _) in found.items() if name.startswith("x_")}
        assert kinds == {name: case.sql for name, case in CASES.items()} | {"decimal": "numeric(10,3)"}
        assert set(kinds) == set(TYPES)
        assert [name for name, (_, required, _) in found.items() if required] == ["id", "at", "_id", "_seq", "_ord"]
        # p: plain, in the row itself.
        assert (found["_embedding"][2], found["x_vector"][2]) == ("p", "p")

    def test_indexes_serve_key_time_arrival_and_filterable_fields_and_never_vectors(self, database: Database) -> None:
        create(database)
        found = indexes(database, "order")
        assert {name: text.partition(" USING ")[2] for name, text in found.items()} == {
            "order__key": "btree (id)",
            "order__time": "btree (at, id)",
            "order__id": "btree (_id)",
            f"order__f{len(CONTRACT.fields) - 1}": 'btree ("select")',
        }
        assert "UNIQUE" in found["order__key"]

    def test_without_a_key_rows_have_an_index_in_their_order(self, database: Database) -> None:
        create(database, parse_contract({"name": "plain", "fields": [{"name": "x", "type": "text"}]}))
        assert "btree (_seq, _ord)" in indexes(database, "plain")["plain__order"]

    def test_an_upsert_takes_a_new_place_in_the_order_of_arrival(self, database: Database) -> None:
        create(database)
        insert = 'INSERT INTO data."order" (id, at, _seq, _ord) VALUES (1, now(), 1, 0)'
        with database.transaction() as connection:
            connection.exec_driver_sql(insert)
            connection.exec_driver_sql(f"{insert} ON CONFLICT (id) DO UPDATE SET _id = DEFAULT")
            assert connection.exec_driver_sql('SELECT _id > 1 FROM data."order"').scalar_one()

    def test_the_longest_names_fit(self, database: Database) -> None:
        body = {"name": "d" * 48, "fields": [{"name": "f" * 48, "type": "date", "required": True, "filterable": True}]}
        create(database, parse_contract({**body, "key": ["f" * 48], "time_field": "f" * 48}))
        assert len(indexes(database, "d" * 48)) == 4

    def test_columns_that_postgres_has_in_every_table_are_refused(self, database: Database) -> None:
        with database.autocommit() as connection:
            own = connection.exec_driver_sql(
                "SELECT attname FROM pg_attribute WHERE attrelid = 'gristmill.jobs'::regclass AND attnum < 0"
            ).scalars()
            assert set(own) == set(POSTGRES_COLUMNS)

    @given(suffix=st.text("_abdefiqrsxtymkol0", max_size=8), kind=st.sampled_from(["", "_id", "_key", "_time", "_f0"]))
    def test_any_two_names_that_are_taken_have_their_tables(self, database: Database, suffix: str, kind: str) -> None:
        """Tables, indexes and sequences share one space of names."""
        field = {"name": "x", "type": "timestamp", "required": True, "filterable": True}
        body = {"fields": [field], "key": ["x"], "time_field": "x"}
        names = ["a", f"a_{kind}{suffix}"]
        if "__" in names[1]:
            with pytest.raises(Invalid, match="indexes and sequences"):
                parse_contract({**body, "name": names[1]})
            return
        contracts = [parse_contract({**body, "name": name}) for name in names]
        with database.transaction() as connection:
            for contract in contracts:
                ddl.create_table(connection, contract, OWNER)
            for contract in contracts:
                ddl.drop_table(connection, contract.name, OWNER)

    @pytest.mark.parametrize(("fields", "time", "fits"), [(32, False, True), (33, False, False), (32, True, False)])
    def test_a_key_has_as_many_fields_as_an_index(
        self, database: Database, fields: int, time: bool, fits: bool
    ) -> None:
        key = [f"k{number}" for number in range(fields)]
        specs = [{"name": name, "type": "boolean", "required": True} for name in key]
        body = {"name": "wide_key", "fields": [*specs, {"name": "at", "type": "date", "required": True}], "key": key}
        if fits:
            create(database, parse_contract(body))
            return
        with pytest.raises(Invalid) as caught:
            parse_contract({**body, "time_field": "at"} if time else body)
        (violation,) = caught.value.violations
        assert (violation.pointer, violation.code) == ("/key", "too_many")
        assert "32" in violation.reason

    def test_the_largest_contract_holds_a_row_with_every_field(self, database: Database) -> None:
        fields = [{"name": f"f{number}", "type": "text"} for number in range(250)]
        contract = parse_contract({"name": "wide", "fields": fields, "embedding": {"dimensions": 2000}})
        create(database, contract)
        row = {f"f{number}": "ä" * 2000 for number in range(250)}
        with database.transaction() as connection:
            table = ddl.record_table(contract)
            connection.execute(sa.insert(table).values(**row, _seq=1, _ord=0, _embedding=[0.5] * 2000))
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() == 1

    def test_a_plain_vector_fits_its_row_beside_numbers(self, database: Database) -> None:
        fields = [{"name": f"f{number}", "type": "decimal"} for number in range(250)]
        contract = parse_contract({"name": "wide", "fields": fields, "embedding": {"dimensions": 500}})
        create(database, contract)
        row = {f"f{number}": "9" * 38 for number in range(250)}
        with database.transaction() as connection:
            table = ddl.record_table(contract)
            connection.execute(sa.insert(table).values(**row, _seq=1, _ord=0, _embedding=[0.5] * 500))

    def test_it_is_repeatable_and_never_takes_another_s_table(self, database: Database) -> None:
        create(database)
        create(database)
        with pytest.raises(TableExists, match="exists already"):
            create(database, owner=uuid.uuid4())


class TestAlter:
    CHANGE = {  # noqa: RUF012 - never changed
        "add_fields": [
            {"name": "new", "type": "timestamp", "filterable": True},
            {"name": "v", "type": "vector", "dimensions": 2},
        ],
        "alter_fields": [
            {"name": "x_integer", "type": "decimal"},
            {"name": "id", "type": "decimal"},
            {"name": "at", "required": False},
            {"name": "x_decimal", "precision": 20, "scale": 5},
            {"name": "select", "filterable": False},
        ],
    }

    def test_the_table_changes_and_keeps_its_rows(self, database: Database) -> None:
        create(database)
        with database.transaction() as connection:
            connection.exec_driver_sql(
                'INSERT INTO data."order" (id, at, x_integer, x_decimal, _seq, _ord)'
                " VALUES (1, now(), 9223372036854775807, 1.125, 1, 0)"
            )
        new = alter_contract(CONTRACT, self.CHANGE)
        with database.transaction() as connection:
            ddl.apply_alter(connection, CONTRACT, new)
        found = columns(database, 'data."order"')
        assert found["x_integer"][0] == "numeric"
        assert found["id"][:2] == ("numeric", True)
        assert found["x_decimal"][0] == "numeric(20,5)"
        assert found["at"][1] is False
        assert found["new"] == ("timestamp with time zone", False, "p")
        assert found["v"][2] == "p"
        # What was added gets its index by a job of its own.
        assert sorted(indexes(database, "order")) == ["order__id", "order__key", "order__time"]
        with database.autocommit() as connection:
            row = connection.exec_driver_sql('SELECT x_integer::text, x_decimal::text FROM data."order"').one()
        assert tuple(row) == ("9223372036854775807", "1.12500")

    def test_a_changed_table_equals_one_created_with_the_new_contract(self, database: Database) -> None:
        new = alter_contract(CONTRACT, self.CHANGE)
        create(database)
        with database.transaction() as connection:
            ddl.apply_alter(connection, CONTRACT, new)
        added = f"order__f{len(CONTRACT.fields)}"
        with database.autocommit() as connection:
            assert list_missing(connection, new) == [added]
            connection.exec_driver_sql(create_index(connection, list_wanted(new)[added]))
        altered = columns(database, 'data."order"'), indexes(database, "order")
        with database.transaction() as connection:
            ddl.drop_table(connection, "order", OWNER)
        create(database, new)
        assert (columns(database, 'data."order"'), indexes(database, "order")) == altered

    def test_a_lock_that_is_not_had_is_a_reason_to_try_again(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ddl, "LOCK_TIMEOUT_SECONDS", 0.1)
        create(database)
        reading, done = threading.Event(), threading.Event()

        def read() -> None:
            with database.transaction() as connection:
                connection.exec_driver_sql('SELECT * FROM data."order"')
                reading.set()
                done.wait(60)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            assert reading.wait(60)
            with pytest.raises(TableBusy) as caught, database.transaction() as connection:
                ddl.apply_alter(connection, CONTRACT, alter_contract(CONTRACT, self.CHANGE))
            assert caught.value.retryable
        finally:
            done.set()
            reader.join()


class TestDrop:
    def test_only_the_dataset_s_own_table_goes(self, database: Database) -> None:
        create(database)
        with database.transaction() as connection:
            ddl.drop_table(connection, "order", uuid.uuid4())
        assert columns(database, 'data."order"')
        for _ in range(2):
            with database.transaction() as connection:
                ddl.drop_table(connection, "order", OWNER)
            assert not columns(database, 'data."order"')
