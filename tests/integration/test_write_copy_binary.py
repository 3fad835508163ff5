"""Binary COPY against the real server: every staging type, nulls mixed in, reads back equal."""

import datetime as dt
import math
import uuid
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.values import CASES

from gristmill.core.database import Database
from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.types import TYPES
from gristmill.records.apply.copy_binary import copy_table, encode_copy

_SCHEMA = pa.schema(
    {
        "t": pa.string(),
        "i": pa.int64(),
        "f": pa.float64(),
        "b": pa.bool_(),
        "ts": pa.timestamp("us", "UTC"),
        "d": pa.date32(),
        "u": pa.binary(16),
        "v": pa.list_(pa.float32(), 3),
        "y": pa.binary(),
    }
)
_FIELDS = [
    FieldSpec(name="t", type="text"),
    FieldSpec(name="i", type="integer"),
    FieldSpec(name="f", type="float"),
    FieldSpec(name="b", type="boolean"),
    FieldSpec(name="ts", type="timestamp"),
    FieldSpec(name="d", type="date"),
    FieldSpec(name="u", type="uuid"),
    FieldSpec(name="v", type="vector", dimensions=3),
    FieldSpec(name="y", type="image"),
]
_CREATE = (
    "CREATE TEMP TABLE copied (t text, i bigint, f double precision, b boolean, ts timestamptz, d date, u uuid,"
    " v vector, y bytea) ON COMMIT DROP"
)
_float32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
_row = st.fixed_dictionaries(
    {
        "t": st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        "i": st.none() | st.integers(-(2**63), 2**63 - 1),
        "f": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "b": st.none() | st.booleans(),
        "ts": st.none() | st.datetimes(timezones=st.just(dt.UTC)),
        "d": st.none() | st.dates(),
        "u": st.none() | st.uuids().map(lambda value: value.bytes),
        "v": st.none() | st.lists(_float32, min_size=3, max_size=3),
        "y": st.none() | st.binary(),
    }
)


def _round_trip(database: Database, table: pa.Table) -> list[tuple[Any, ...]]:
    with database.transaction() as connection:
        connection.exec_driver_sql(_CREATE)
        copy_table(connection, "COPY copied FROM STDIN (FORMAT binary)", table, _FIELDS)
        # Years before 1 exist in neither Python nor contracts; everything else comes back as Python has it.
        rows = connection.exec_driver_sql(
            "SELECT t, i, f, b, ts, d, u::text, v::real[], y FROM copied ORDER BY ctid"
        ).all()
    return [tuple(row) for row in rows]


def _expected(row: dict[str, Any]) -> tuple[Any, ...]:
    return (
        *(row[name] for name in ("t", "i", "f", "b", "ts", "d")),
        None if row["u"] is None else str(uuid.UUID(bytes=row["u"])),
        None if row["v"] is None else [float(np.float32(value)) for value in row["v"]],
        row["y"],
    )


def _shown(row: tuple[Any, ...]) -> tuple[Any, ...]:
    vector = None if row[7] is None else [float(np.float32(value)) for value in row[7]]
    return (*row[:7], vector, None if row[8] is None else bytes(row[8]))


class TestEveryType:
    @given(data=st.data())
    @settings(max_examples=10)
    def test_what_a_type_makes_of_its_values_is_what_postgres_stores_and_exports(
        self, database: Database, data: st.DataObject
    ) -> None:
        for name, case in CASES.items():
            field, kind = FieldSpec(name="x", type=name, **case.limits), TYPES[name]  # type: ignore[arg-type]
            sent = data.draw(st.lists(st.none() | case.values, max_size=10)) + list(case.extremes)
            values = [None if value is None else kind.parse(field, case.sent(value)) for value in sent]
            with database.transaction() as connection:
                connection.exec_driver_sql(f"CREATE TEMP TABLE staged (x {kind.staging(field)}) ON COMMIT DROP")
                table = pa.table({"x": kind.to_column(field, values)})
                copy_table(connection, "COPY staged FROM STDIN (FORMAT binary)", table, [field])
                stored = sa.type_coerce(sa.literal_column(f"x{kind.cast}"), kind.column(field))
                cell = sa.cast(kind.csv_cell(stored), sa.Text)
                member = sa.func.json_build_array(kind.json_member(stored))
                found = connection.execute(sa.select(stored, cell, member).select_from(sa.text("staged"))).all()
            assert len(found) == len(sent)
            for value, (got, in_csv, (in_json,)) in zip(sent, found, strict=True):
                assert case.is_same(value, kind.to_json(got)), (name, value, got)
                assert case.is_same(value, in_json), (name, value, in_json)
                again = None if in_csv is None else kind.parse(field, kind.from_text(field, in_csv))
                assert case.is_same(value, kind.to_json(again)), (name, value, in_csv)


class TestCopyBinary:
    @given(rows=st.lists(_row, max_size=30), cut=st.integers(0, 3))
    @settings(max_examples=60)
    def test_every_type_reads_back_equal_with_nulls_and_slices(
        self, database: Database, rows: list[dict[str, Any]], cut: int
    ) -> None:
        table = pa.Table.from_pylist(rows, schema=_SCHEMA).slice(cut)
        assert [_shown(row) for row in _round_trip(database, table)] == [_expected(row) for row in rows[cut:]]

    def test_negative_zero_keeps_its_sign(self, database: Database) -> None:
        table = pa.Table.from_pylist([{"f": -0.0}], schema=_SCHEMA)
        assert math.copysign(1, _round_trip(database, table)[0][2]) == -1

    def test_a_table_of_many_chunks_and_blocks_reads_back_equal(self, database: Database) -> None:
        rows = [{"t": "x" * (n % 50), "i": n, "v": [n, 0.5, -n] if n % 3 else None} for n in range(5000)]
        chunked = pa.concat_tables(
            pa.Table.from_pylist(rows[at : at + 700], schema=_SCHEMA) for at in range(0, 5000, 700)
        )
        blocks = list(encode_copy(chunked, _FIELDS, block_bytes=50_000))
        assert len(blocks) > 5
        with database.transaction() as connection:
            connection.exec_driver_sql(_CREATE)
            copy_table(connection, "COPY copied FROM STDIN (FORMAT binary)", chunked, _FIELDS)
            sums = connection.exec_driver_sql(
                "SELECT count(*), sum(i), sum(length(t)), count(v), sum((v::real[])[1]) FROM copied"
            ).one()
        assert tuple(sums) == (
            5000, sum(range(5000)), sum(n % 50 for n in range(5000)), 3333, float(sum(n for n in range(5000) if n % 3)),
        )  # fmt: skip

    def test_an_empty_table_is_no_row(self, database: Database) -> None:
        assert _round_trip(database, _SCHEMA.empty_table()) == []
