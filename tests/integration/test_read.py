"""Reads on real Postgres: by key, the newest, windows, filters, orders, and pages that neither repeat nor skip."""

import datetime as dt
import json
import os
import re
import uuid
from dataclasses import replace
from decimal import Decimal
from functools import cmp_to_key
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event
from tests.support.servers import add_database
from tests.support.stored import make_dataset, store

from gristmill.core.database import Database
from gristmill.core.errors import Conflict, Invalid, Malformed
from gristmill.datasets.errors import UnknownDataset
from gristmill.datasets.lookup import Dataset, DatasetLookup
from gristmill.kit.pagination import encode_page_token
from gristmill.records.errors import UnknownRecord
from gristmill.records.read.pages import PageQuery
from gristmill.records.read.service import RecordReads

READINGS = {
    "name": "readings",
    "fields": [
        {"name": "sensor", "type": "text", "required": True},
        {"name": "at", "type": "timestamp", "required": True},
        {"name": "value", "type": "float"},
    ],
    "key": ["sensor", "at"],
    "time_field": "at",
}
ALL_TYPES = {
    "name": "everything",
    "fields": [
        {"name": "id", "type": "uuid", "required": True},
        {"name": "a_text", "type": "text"},
        {"name": "an_integer", "type": "integer"},
        {"name": "a_float", "type": "float"},
        {"name": "a_decimal", "type": "decimal"},
        {"name": "a_boolean", "type": "boolean"},
        {"name": "a_timestamp", "type": "timestamp"},
        {"name": "a_date", "type": "date"},
        {"name": "a_json", "type": "json"},
        {"name": "a_vector", "type": "vector", "dimensions": 2},
        {"name": "an_image", "type": "image"},
    ],
    "key": ["id"],
    "time_field": "a_timestamp",
    "embedding": {"dimensions": 2},
}


@pytest.fixture
def reads(database: Database) -> RecordReads:
    return RecordReads(database, DatasetLookup())


def at(minute: int) -> str:
    return f"2026-01-01T00:{minute:02d}:00Z"


@pytest.fixture
def readings(database: Database) -> Dataset:
    dataset = make_dataset(database, READINGS)
    records = [{"sensor": s, "at": at(minute), "value": minute / 2} for minute in range(10) for s in ("a/b", 'c"d')]
    store(database, dataset.contract, records)
    return dataset


def walk(reads: RecordReads, name: str, size: int, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    token = None
    while True:
        page = reads.page(name, PageQuery(page_size=size, page_token=token, **query))
        assert len(page.body["records"]) <= size
        found += page.body["records"]
        token = page.body["next_page_token"]
        if token is None:
            return found
        assert len(page.body["records"]) == size


class TestOneRecord:
    def test_a_record_is_found_by_its_composite_key(self, reads: RecordReads, readings: Dataset) -> None:
        key = json.dumps(["a/b", "2026-01-01T01:03:00+01:00"])
        assert json.loads(reads.get("readings", key)[0]) == {"sensor": "a/b", "at": at(3), "value": 1.5}

    @pytest.mark.parametrize(
        ("type_", "shown", "written"),
        [
            ("text", "ä/ ?#", "ä/ ?#"),
            ("integer", -(2**63), "-9223372036854775808"),
            ("decimal", "1.5", "1.50"),
            ("boolean", True, "true"),
            ("timestamp", "2026-01-01T00:00:00.000001Z", "2026-01-01T02:00:00.000001+02:00"),
            ("date", "2026-02-28", "2026-02-28"),
            ("uuid", "0192f0c2-7d3a-7000-8000-0123456789ab", "0192F0C2-7D3A-7000-8000-0123456789AB"),
        ],
    )
    def test_a_key_of_each_type(
        self, reads: RecordReads, database: Database, type_: str, shown: Any, written: str
    ) -> None:
        body = {"name": "keyed", "fields": [{"name": "k", "type": type_, "required": True}], "key": ["k"]}
        store(database, make_dataset(database, body).contract, [{"k": shown}])
        assert json.loads(reads.get("keyed", written)[0]) == {"k": shown}

    def test_an_absent_record_is_unknown(self, reads: RecordReads, readings: Dataset) -> None:
        with pytest.raises(UnknownRecord, match="no record with the key"):
            reads.get("readings", json.dumps(["nobody", at(1)]))

    @pytest.mark.parametrize("key", ["a", "[]", '["a"]', '["a", 3]', '["a", "2026-01-01T00:00:00"]', '{"sensor": 1}'])
    def test_a_key_that_cannot_be_one_is_refused(self, reads: RecordReads, readings: Dataset, key: str) -> None:
        with pytest.raises(Invalid) as caught:
            reads.get("readings", key)
        assert caught.value.violations[0].pointer == "/path/key"

    def test_without_a_key_no_record_can_be_named(self, reads: RecordReads, database: Database) -> None:
        make_dataset(database, {**READINGS, "key": []})
        with pytest.raises(Conflict):
            reads.get("readings", "1")

    @pytest.mark.promise(9)
    def test_every_type_reads_back_as_it_was_accepted(self, reads: RecordReads, database: Database) -> None:
        dataset = make_dataset(database, ALL_TYPES)
        record = {
            "id": "0192f0c2-7d3a-7000-8000-0123456789ab",
            "a_text": "naïve 😀",
            "an_integer": 2**53 + 1,
            "a_float": 0.1,
            "a_decimal": "12345678901234567890.123456789",
            "a_boolean": False,
            "a_timestamp": "9999-12-31T23:59:59.999999Z",
            "a_date": "0001-01-01",
            "a_json": {"deep": [1, 2.5, None, {"x": "y"}]},
            "a_vector": [0.1, -2.0],
            "an_image": "iVBORw0KGgo=",
        }
        empty = dict.fromkeys(record) | {"id": str(uuid.UUID(int=1))}
        store(database, dataset.contract, [record, empty], [[0.25, 0.1], None])
        assert json.loads(reads.get("everything", str(record["id"]))[0]) == record
        assert json.loads(reads.get("everything", str(empty["id"]), embedding=True)[0]) == {**empty, "_embedding": None}
        assert json.loads(reads.get("everything", str(record["id"]), embedding=True)[0])["_embedding"] == [0.25, 0.1]


class TestLatest:
    def test_the_newest_by_time_come_first(self, reads: RecordReads, readings: Dataset) -> None:
        latest = reads.latest("readings", 3).body["records"]
        assert [(r["sensor"], r["at"]) for r in latest] == [('c"d', at(9)), ("a/b", at(9)), ('c"d', at(8))]

    def test_records_without_a_time_are_not_among_them(self, reads: RecordReads, database: Database) -> None:
        dataset = make_dataset(database, ALL_TYPES)
        records = [{"id": str(uuid.UUID(int=n)), "a_timestamp": at(n) if n != 2 else None} for n in range(4)]
        store(database, dataset.contract, records)
        assert [r["a_timestamp"] for r in reads.latest("everything", 10).body["records"]] == [at(3), at(1), at(0)]

    def test_without_a_time_field_the_last_submitted_come_first(self, reads: RecordReads, database: Database) -> None:
        body = {"name": "plain", "fields": [{"name": "n", "type": "integer"}]}
        dataset = make_dataset(database, body)
        store(database, dataset.contract, [{"n": 1}, {"n": 2}], seq=2)
        store(database, dataset.contract, [{"n": 3}], seq=1)
        assert [r["n"] for r in reads.latest("plain", 2).body["records"]] == [2, 1]


class TestWindow:
    @pytest.mark.parametrize(
        ("window", "minutes"),
        [
            ({"start": at(8)}, [8, 9]),
            ({"end": at(1)}, [0, 1]),
            ({"start": at(3), "end": at(4)}, [3, 4]),
            ({"start": "2026-01-01T01:03:00+01:00", "end": "2026-01-01T01:03:00 01:00"}, [3]),
            ({"start": at(5), "end": at(4)}, []),
        ],
    )
    def test_both_bounds_are_optional_and_inclusive(
        self, reads: RecordReads, readings: Dataset, window: dict[str, str], minutes: list[int]
    ) -> None:
        found = walk(reads, "readings", 3, **window)
        assert [r["at"] for r in found] == [at(minute) for minute in minutes for _ in range(2)]

    def test_a_window_needs_a_time_field(self, reads: RecordReads, database: Database) -> None:
        make_dataset(database, {key: value for key, value in READINGS.items() if key != "time_field"})
        with pytest.raises(Invalid) as caught:
            reads.page("readings", PageQuery(end=at(1)))
        assert (caught.value.violations[0].pointer, caught.value.violations[0].code) == ("/query/end", "no_time_field")

    def test_bad_bounds_are_all_named(self, reads: RecordReads, readings: Dataset) -> None:
        with pytest.raises(Invalid) as caught:
            reads.page("readings", PageQuery(start="yesterday", end="2026-01-01T00:00:00"))
        assert [violation.pointer for violation in caught.value.violations] == ["/query/start", "/query/end"]

    def test_a_date_field_makes_windows_of_days(self, reads: RecordReads, database: Database) -> None:
        fields = [{"name": "day", "type": "date", "required": True}]
        dataset = make_dataset(database, {"name": "days", "fields": fields, "key": ["day"], "time_field": "day"})
        store(database, dataset.contract, [{"day": f"2026-01-0{n}"} for n in range(1, 6)])
        found = walk(reads, "days", 2, start="2026-01-02", end="2026-01-04")
        assert [r["day"] for r in found] == ["2026-01-02", "2026-01-03", "2026-01-04"]


class TestPages:
    def test_where_order_and_pages_together(self, reads: RecordReads, readings: Dataset) -> None:
        where = {"value": {"ge": 2, "lt": 4}, "sensor": "a/b"}
        found = walk(reads, "readings", 2, where=where, order="-value")
        assert [r["value"] for r in found] == [3.5, 3.0, 2.5, 2.0]

    @pytest.mark.parametrize("order", ["nothing", "value,value", "", "-", "value,"])
    def test_an_order_that_is_none_is_refused(self, reads: RecordReads, readings: Dataset, order: str) -> None:
        with pytest.raises(Invalid) as caught:
            reads.page("readings", PageQuery(order=order))
        assert caught.value.violations[0].pointer == "/query/order"

    def test_a_type_without_an_order_is_refused(self, reads: RecordReads, database: Database) -> None:
        make_dataset(database, ALL_TYPES)
        with pytest.raises(Invalid, match="has no order"):
            reads.page("everything", PageQuery(order="a_json"))

    def test_a_token_belongs_to_its_query(self, reads: RecordReads, readings: Dataset) -> None:
        token = reads.page("readings", PageQuery(page_size=3)).body["next_page_token"]
        assert reads.page("readings", PageQuery(page_size=5, page_token=token)).body["records"]
        for query in (PageQuery(page_token=token, order="value"), PageQuery(page_token="made-up")):
            with pytest.raises(Malformed) as caught:
                reads.page("readings", query)
            assert caught.value.violations[0].pointer == "/query/page_token"

    def test_a_forged_token_is_refused(self, reads: RecordReads, readings: Dataset) -> None:
        for values in ([], ["a", 3], [None, {"x": 1}], ["a\0", at(1)], ["a", "9" * 400]):
            query = PageQuery()
            token = encode_page_token(values, query.identity(readings.id))
            with pytest.raises(Malformed):
                reads.page("readings", PageQuery(page_token=token))

    def test_values_too_long_for_a_token_are_said(self, reads: RecordReads, database: Database) -> None:
        dataset = make_dataset(database, ALL_TYPES)
        records = [{"id": str(uuid.UUID(int=n)), "a_text": "x" * 60_000} for n in range(2)]
        store(database, dataset.contract, records)
        with pytest.raises(Invalid, match="too long to continue"):
            reads.page("everything", PageQuery(order="a_text", page_size=1))

    def test_a_dataset_that_is_being_created_is_empty(self, reads: RecordReads, database: Database) -> None:
        make_dataset(database, READINGS, ready=False)
        assert reads.page("readings", PageQuery()).body == {"records": [], "next_page_token": None}
        assert reads.latest("readings", 5).body == {"records": []}
        with pytest.raises(UnknownRecord):
            reads.get("readings", json.dumps(["a", at(1)]))
        with pytest.raises(Invalid):
            reads.page("readings", PageQuery(order="nothing"))

    def test_a_dataset_that_is_gone_is_unknown(self, reads: RecordReads, readings: Dataset, database: Database) -> None:
        with database.transaction() as connection:
            connection.exec_driver_sql("DROP TABLE data.readings")
        with pytest.raises(UnknownDataset):
            reads.page("readings", PageQuery())
        with pytest.raises(UnknownDataset):
            reads.page("nothing", PageQuery())


class TestPlans:
    """Pages and the newest records come from an index in its order: nothing is sorted, no table is read in full."""

    def explain(self, database: Database, ask: Any) -> str:
        """Return the plan of the last statement that ``ask`` makes."""
        seen: list[str] = []

        def note(_connection: Any, cursor: Any, *_: Any) -> None:
            seen.append(cursor.query.decode())

        with database.autocommit() as connection:
            engine = connection.engine
        event.listen(engine, "after_cursor_execute", note)
        ask()
        event.remove(engine, "after_cursor_execute", note)
        with database.autocommit() as connection:
            cursor = connection.connection.cursor()
            cursor.execute("EXPLAIN " + seen[-1])
            return "\n".join(row[0] for row in cursor.fetchall())

    @pytest.mark.parametrize(
        ("index", "query"),
        [
            ("readings__key", PageQuery(page_size=10)),
            ("readings__time", PageQuery(page_size=10, start=at(1))),
            ("readings__time", PageQuery(page_size=10, order="-at", end=at(30))),
            ("readings__key", PageQuery(page_size=10, order="-sensor,-at")),
        ],
    )
    def test_second_pages_start_where_the_first_ended(
        self, reads: RecordReads, database: Database, index: str, query: PageQuery
    ) -> None:
        self.fill(database)
        token = reads.page("readings", query).body["next_page_token"]
        plan = self.explain(database, lambda: reads.page("readings", replace(query, page_token=token)))
        assert f"using {index} on readings" in plan
        assert "Sort" not in plan
        assert re.search(r"Index Cond: .*ROW\(", plan)

    def test_the_newest_are_the_end_of_the_time_index(self, reads: RecordReads, database: Database) -> None:
        self.fill(database)
        plan = self.explain(database, lambda: reads.latest("readings", 5))
        assert "Index Scan Backward using readings__time" in plan
        assert "Sort" not in plan

    def fill(self, database: Database) -> None:
        dataset = make_dataset(database, READINGS)
        records = [{"sensor": f"s{n % 50}", "at": f"2026-01-01T{n // 50:02d}:00:00Z"} for n in range(1000)]
        store(database, dataset.contract, records)
        with database.transaction() as connection:
            connection.exec_driver_sql("ANALYZE data.readings")


ORDERED = ("an_integer", "a_text", "a_float", "a_decimal", "a_boolean", "a_timestamp", "a_date")
_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "an_integer": st.sampled_from([-(2**63), -1, 0, 2**63 - 1]),
    "a_text": st.sampled_from(["", "a", "A", "ä", "b", "%_\\'\""]),
    "a_float": st.sampled_from([-1.5, 0.0, 1e-300, 0.1, 1e22]),
    "a_decimal": st.sampled_from(["-1", "0.10", "12345678901234567890.5"]),
    "a_boolean": st.booleans(),
    "a_timestamp": st.sampled_from([at(1), "1999-12-31T23:59:59.999999Z", "0001-01-01T00:00:00Z"]),
    "a_date": st.sampled_from(["0001-01-01", "2026-02-28", "9999-12-31"]),
}
_RECORD = st.fixed_dictionaries({name: st.none() | values for name, values in _VALUES.items()})
_ORDER = st.lists(
    st.tuples(st.sampled_from(ORDERED), st.booleans()), min_size=1, max_size=3, unique_by=lambda term: term[0]
)


def sort_like_postgres(records: list[dict[str, Any]], order: list[tuple[str, bool]], keyed: bool) -> list[Any]:
    """Sort by Python's own comparisons: nulls above everything, then the key, in the direction of the last term."""
    terms = [*order, ("id" if keyed else "_place", order[-1][1])]

    def value(record: dict[str, Any], name: str) -> Any:
        shown = record[name]
        if name == "a_decimal" and shown is not None:
            return Decimal(shown)
        if name == "a_timestamp" and shown is not None:
            return dt.datetime.fromisoformat(shown)
        return shown.encode() if isinstance(shown, str) else shown

    def compare(left: dict[str, Any], right: dict[str, Any]) -> int:
        for name, descending in terms:
            one, other = value(left, name), value(right, name)
            if one == other:
                continue
            above = one is None or (other is not None and one > other)
            return -1 if above == descending else 1
        return 0

    return sorted(records, key=cmp_to_key(compare))


@pytest.fixture(scope="module")
def shared() -> Any:
    """One database for all examples of the property test."""
    url = add_database(os.environ["GRISTMILL_TEST_POSTGRES"], os.environ["GRISTMILL_TEST_TEMPLATE"])
    database = Database(url, "test")
    keyed = make_dataset(database, {**ALL_TYPES, "embedding": None})
    unkeyed = make_dataset(database, {**ALL_TYPES, "embedding": None, "name": "unkeyed", "key": []})
    yield database, {True: keyed, False: unkeyed}
    database.close()


class TestPagesNeverRepeatOrSkip:
    @settings(max_examples=60)
    @given(
        records=st.lists(_RECORD, max_size=12),
        order=_ORDER,
        size=st.integers(1, 5),
        keyed=st.booleans(),
        window=st.sampled_from([None, "1000-01-01T00:00:00Z"]),
    )
    def test_the_pages_are_the_sorted_records(
        self, shared: Any, records: list[Any], order: Any, size: int, keyed: bool, window: str | None
    ) -> None:
        database, datasets = shared
        dataset = datasets[keyed]
        rows = [{**record, "id": str(uuid.UUID(int=n * 7919 % 101)), "_place": n} for n, record in enumerate(records)]
        self.replace_all(database, dataset, rows)
        text = ",".join(("-" if descending else "") + name for name, descending in order)
        found = walk(RecordReads(database, DatasetLookup()), dataset.name, size, order=text, start=window)
        if window is not None:
            rows = [row for row in rows if row["a_timestamp"] == at(1) or (row["a_timestamp"] or "").startswith("1999")]
        expected = [row["id"] for row in sort_like_postgres(rows, order, keyed)]
        assert [record["id"] for record in found] == expected

    @settings(max_examples=40)
    @given(
        records=st.lists(_RECORD, min_size=4, max_size=12),
        order=_ORDER,
        size=st.integers(1, 3),
        data=st.data(),
    )
    def test_records_not_written_to_are_listed_exactly_once(
        self, shared: Any, records: list[Any], order: Any, size: int, data: st.DataObject
    ) -> None:
        database, datasets = shared
        dataset = datasets[True]
        rows = [{**record, "id": str(uuid.UUID(int=n))} for n, record in enumerate(records)]
        self.replace_all(database, dataset, rows)
        reads = RecordReads(database, DatasetLookup())
        text = ",".join(("-" if descending else "") + name for name, descending in order)
        touched: set[str] = set()
        found: list[str] = []
        token = None
        while True:
            page = reads.page(dataset.name, PageQuery(order=text, page_size=size, page_token=token))
            found += [record["id"] for record in page.body["records"]]
            token = page.body["next_page_token"]
            if token is None:
                break
            # Written to between two pages: replaced, so moved within the order, or added.
            changed = {**data.draw(_RECORD), "id": str(uuid.UUID(int=data.draw(st.integers(0, 20))))}
            touched.add(changed["id"])
            store(database, dataset.contract, [changed], seq=2)
        untouched = [row["id"] for row in rows if row["id"] not in touched]
        assert sorted(id_ for id_ in found if id_ in untouched) == sorted(untouched)

    def replace_all(self, database: Database, dataset: Dataset, rows: list[dict[str, Any]]) -> None:
        with database.transaction() as connection:
            connection.exec_driver_sql(f"DELETE FROM data.{dataset.name}")
        if rows:
            store(database, dataset.contract, rows)
