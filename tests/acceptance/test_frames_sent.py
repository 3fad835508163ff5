"""Frames of each library on real processes: what they hold is stored and read as it is, or refused with its place."""

import asyncio
import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from tests.support.rest import Json, Rest

from gristmill.client import AsyncClient, Client, Conflict, InvalidArgument, InvalidRequest, NotFound

FIELDS: list[Json] = [
    {"name": "id", "type": "integer", "required": True},
    {"name": "t", "type": "text", "normalize": "NFC"},
    {"name": "x", "type": "float"},
    {"name": "d", "type": "decimal"},
    {"name": "price", "type": "decimal", "precision": 6, "scale": 2},
    {"name": "at", "type": "timestamp"},
    {"name": "local", "type": "timestamp", "zone": "Europe/Berlin"},
    {"name": "length", "type": "duration"},
    {"name": "j", "type": "json"},
    {"name": "v", "type": "vector", "dimensions": 2},
]
VIEW = [{"op": "rolling", "column": "x", "window": 2, "agg": "mean", "as": "smooth"}]
CONTRACT: Json = {"fields": FIELDS, "key": ["id"], "time_field": "at", "views": {"smooth": VIEW}}
NOON = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def client(rest: Rest) -> Iterator[Client]:
    with Client(rest.system.url) as found:
        yield found


@pytest.fixture(scope="module")
def empty(rest: Rest) -> str:
    """A dataset that nothing is ever stored in."""
    return rest.create(CONTRACT)


@pytest.fixture(scope="module")
def filled(rest: Rest, client: Client) -> str:
    """A dataset of 3 records, in the order 1, 2, 3 of their ids."""
    name = rest.create(CONTRACT)
    frame = pd.DataFrame(
        {
            "id": [1, 2, 3], "t": ["b", None, "a"], "x": [0.5, np.nan, -0.0], "d": [Decimal("1.5"), None, Decimal(20)],
            "price": [None, Decimal("2.5"), Decimal("0.10")], "at": pd.date_range(NOON, periods=3, freq="h"),
            "local": pd.to_datetime(["2026-07-01T12:00", None, "2026-01-01T12:00"]), "j": [{"a": 1}, None, [2]],
        }
    )  # fmt: skip
    client.submit(name, frame, wait=60)
    return name


def values(client: Client, name: str, *fields: str) -> list[Any]:
    rows = [tuple(record[field] for field in fields) for record in client.records(name, fields=[*fields])]
    return [row[0] if len(fields) == 1 else row for row in rows]


class TestSubmit:
    @pytest.mark.parametrize(
        "frame",
        [
            pd.DataFrame({"id": [1, 2**53 + 1], "t": ["a", None]}),
            pd.DataFrame({"t": ["a", None]}, index=pd.Index([1, 2**53 + 1], name="id")),
            pl.DataFrame({"id": [1, 2**53 + 1], "t": ["a", None]}),
            pl.DataFrame({"id": [1, 2**53 + 1], "t": pl.Series(["a", None], dtype=pl.Categorical)}),
            pa.table({"id": [1, 2**53 + 1], "t": ["a", None]}),
            pa.record_batch({"id": [1, 2**53 + 1], "t": ["a", None]}),
            pa.table({"id": pa.array([1, 2**53 + 1], pa.uint64()), "t": pa.array(["a", None], pa.string_view())}),
            pa.table({"id": [1, 2**53 + 1], "t": pa.array(["a", None]).dictionary_encode()}),
            # Each batch has a dictionary of its own.
            pa.concat_tables(
                pa.table({"id": [number], "t": pa.array([text], pa.string()).dictionary_encode()})
                for number, text in ((1, "a"), (2**53 + 1, None))
            ),
            pl.concat(
                [
                    pl.DataFrame({"id": [number], "t": pl.Series([text], dtype=pl.Categorical)})
                    for number, text in ((1, "a"), (2**53 + 1, None))
                ],
                rechunk=False,
            ),
            duckdb.sql("SELECT * FROM (VALUES (1, 'a'), (9007199254740993, NULL)) AS r(id, t)"),
        ],
        ids=lambda frame: type(frame).__module__,
    )
    def test_frames_of_each_library_are_stored(self, rest: Rest, client: Client, frame: Any) -> None:
        name = rest.create(CONTRACT)
        assert client.validate(name, frame)["valid"]
        job = client.submit(name, frame, wait=60)
        assert job["record_counts"]["succeeded"] == 2
        assert values(client, name, "id", "t") == [(1, "a"), (2**53 + 1, None)]

    def test_a_reader_that_can_be_read_once_is_sent_and_may_be_sent_again(self, rest: Rest, client: Client) -> None:
        name = rest.create(CONTRACT)
        reader = pa.table({"id": range(200_000)}).to_reader(1000)
        assert client.submit(name, reader, wait=60)["record_counts"]["succeeded"] == 200_000
        assert client.count(name) == 200_000

    @pytest.mark.parametrize(
        ("column", "pointer", "said"),
        [
            ({"at": pd.to_datetime(["2026-01-01T00:00:00.000000001Z"])}, "/0/at", "microsecond"),
            ({"length": pd.to_timedelta([1], unit="ns")}, "/0/length", "duration"),
            ({"id": np.array([2**63], np.uint64)}, "/0/id", "9223372036854775808"),
            ({"at": pd.to_datetime(["2026-01-01"])}, "/at", "timestamp with a time zone"),
            ({"d": [0.5]}, "/d", "double"),
            ({"x": ["0.5"]}, "/x", "string"),
            ({"j": pd.array([5], "Int64")}, "/j", "int64"),
            ({"v": [[1.0]]}, "/0/v", "2"),
            ({"v": [[1.0, float("nan")]]}, "/0/v/1", "finite"),
            ({"x": [float("inf")]}, "/0/x", "finite"),
            ({"t": pd.Series([b"x"], dtype=object)}, "/t", "binary"),
            ({"nope": [1]}, "/nope", "is not a field"),
            ({"t": pd.Series(pd.arrays.ArrowExtensionArray(pa.array([dt.time(1)])))}, "/t", "time64"),
        ],
    )
    def test_values_are_judged_by_the_server_by_record_and_field(
        self, client: Client, empty: str, column: Json, pointer: str, said: str
    ) -> None:
        frame = pd.DataFrame({"id": [1], **column})
        for call in (client.submit, client.validate):
            with pytest.raises(InvalidRequest) as error:
                call(empty, frame)
            (found,) = error.value.errors
            assert found["pointer"] == pointer
            assert said in found["reason"]
        assert client.count(empty) == 0

    def test_nan_of_polars_and_arrow_is_a_value_and_refused(self, client: Client, empty: str) -> None:
        for frame in (
            pl.DataFrame({"id": [1, 2], "x": [0.5, float("nan")]}),
            pa.table({"id": [1], "x": [float("nan")]}),
        ):
            with pytest.raises(InvalidRequest) as error:
                client.submit(empty, frame)
            assert error.value.errors[0]["pointer"] == f"/{len(frame) - 1}/x"

    def test_with_quarantine_the_other_rows_of_a_frame_are_stored(self, rest: Rest, client: Client) -> None:
        name = rest.create(CONTRACT)
        times = pd.to_datetime(["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000000001Z"], format="ISO8601")
        job = client.submit(name, pd.DataFrame({"id": [1, 2], "at": times}), on_error="quarantine", wait=60)
        assert (job["record_counts"]["succeeded"], job["record_counts"]["rejected"]) == (1, 1)
        assert values(client, name, "id") == [1]

    @pytest.mark.parametrize("column", [pd.array([], "Int64"), pd.Series([], dtype=object)])
    def test_no_rows_are_no_batch(self, client: Client, empty: str, column: Any) -> None:
        for frame in (
            pd.DataFrame({"id": column}),
            pl.DataFrame({"id": []}),
            pa.table({"id": pa.array([], pa.int64())}),
        ):
            with pytest.raises(InvalidRequest, match="The batch holds no record"):
                client.submit(empty, frame)

    def test_what_the_client_refuses_is_not_sent(self, client: Client) -> None:
        for frame in (pd.DataFrame({"id": [1]}, index=["x"]), pd.DataFrame({"id": [1, "x"]}), pd.DataFrame()):
            with pytest.raises(InvalidArgument):
                client.submit("there_is_no_such_dataset", frame)
        with pytest.raises(NotFound):
            client.submit("there_is_no_such_dataset", pd.DataFrame({"id": [1]}))

    def test_objects_are_json_fields_and_lists_of_numbers_vectors(self, rest: Rest, client: Client) -> None:
        name = rest.create(CONTRACT)
        trees: list[Any] = [{"a": 1}, {"b": None}, [1, {"c": 2**60 + 1}], None]
        client.submit(name, pd.DataFrame({"id": range(4), "j": trees, "v": [[1, 2.5], None, (0, 1), [2, 2]]}), wait=60)
        assert values(client, name, "j") == trees
        assert values(client, name, "v") == [[1.0, 2.5], None, [0.0, 1.0], [2.0, 2.0]]

    def test_decimals_are_stored_with_the_digits_that_they_have(self, rest: Rest, client: Client) -> None:
        name = rest.create(CONTRACT)
        numbers = [Decimal("1.50"), Decimal("0.1"), 3, Decimal("9" * 38)]
        client.submit(name, pd.DataFrame({"id": range(4), "d": numbers}), wait=60)
        assert values(client, name, "d") == ["1.50", "0.1", "3", "9" * 38]

    def test_local_times_are_in_the_zone_of_the_field(self, client: Client, filled: str) -> None:
        assert values(client, filled, "local") == ["2026-07-01T10:00:00Z", None, "2026-01-01T11:00:00Z"]

    def test_a_preview_takes_the_first_rows(self, client: Client, empty: str) -> None:
        frame = pd.DataFrame({"id": range(5), "j": [{"a": 1}] * 5, "length": pd.to_timedelta([1.5] * 5, unit="s")})
        shown = [one["row"] for one in client.preview_pipeline(empty, frame, limit=2)["output"]["rows"]]
        assert [(row["id"], row["j"], row["length"]) for row in shown] == [(n, {"a": 1}, "PT1.5S") for n in (0, 1)]

    def test_with_merge_a_frame_changes_only_its_columns(self, rest: Rest, client: Client) -> None:
        name = rest.create(CONTRACT)
        client.submit(name, pd.DataFrame({"id": [1], "t": ["a"], "x": [1.0]}), wait=60)
        client.submit(name, pl.DataFrame({"id": [1], "x": [2.0]}), mode="merge", wait=60)
        assert values(client, name, "id", "t", "x") == [(1, "a", 2.0)]
        with pytest.raises(Conflict, match="Record 0"):
            client.submit(name, pl.DataFrame({"id": [1], "x": [2.0]}), on_conflict="fail", wait=60)


class TestRecords:
    def test_each_column_has_the_type_of_its_field(self, client: Client, filled: str) -> None:
        table = client.records(filled).to_arrow()
        assert dict(zip(table.column_names, map(str, table.schema.types), strict=True)) == {
            "id": "int64", "t": "string", "x": "double", "d": "decimal128(38, 1)", "price": "decimal128(6, 2)",
            "at": "timestamp[us, tz=UTC]", "local": "timestamp[us, tz=UTC]", "length": "duration[us]", "j": "string",
            "v": "fixed_size_list<item: float>[2]",
        }  # fmt: skip
        assert table.column("d").to_pylist() == [Decimal("1.5"), None, Decimal("20.0")]
        assert table.column("price").to_pylist() == [None, Decimal("2.50"), Decimal("0.10")]

    def test_pandas_is_backed_by_arrow_and_counts_as_decimals_do(self, client: Client, filled: str) -> None:
        frame = client.records(filled, where={"id": {"le": 2}}, fields=["id", "d", "price"]).to_pandas()
        assert list(frame.columns) == ["id", "d", "price"]
        assert all(isinstance(kind, pd.ArrowDtype) for kind in frame.dtypes)
        assert (frame["d"].sum(), frame["price"].sum()) == (Decimal("1.5"), Decimal("2.50"))
        assert list(frame["id"]) == [1, 2]

    def test_polars(self, client: Client, filled: str) -> None:
        frame = client.records(filled, fields=["id", "price"]).to_polars()
        assert frame.to_dict(as_series=False) == {"id": [1, 2, 3], "price": [None, Decimal("2.50"), Decimal("0.10")]}

    @pytest.mark.parametrize("order", ["-id", "t", "-t", "d", "-d,id", "price,-id", "-x", "at", "-local,t"])
    def test_the_order_is_that_of_pages(self, client: Client, filled: str, order: str) -> None:
        # What orders need not be among the fields that are shown.
        frame = client.records(filled, order=order, fields=["id"]).to_pandas()
        assert list(frame["id"]) == [record["id"] for record in client.records(filled, order=order)]
        assert list(frame.columns) == ["id"]

    def test_zones(self, client: Client, filled: str) -> None:
        asked = client.records(filled, zone="Asia/Tokyo", fields=["at"]).to_pandas()
        assert str(asked["at"].dtype) == "timestamp[us, tz=Asia/Tokyo][pyarrow]"
        assert asked["at"][0] == NOON
        own = client.records(filled, zone="contract", fields=["at", "local"]).to_arrow()
        assert [kind.tz for kind in own.schema.types] == ["UTC", "Europe/Berlin"]

    def test_a_window_and_no_match_and_no_table_yet(self, rest: Rest, client: Client, filled: str) -> None:
        window = client.records(filled, start=NOON + dt.timedelta(hours=1), end="2026-02-01T00:00:00Z")
        assert list(window.to_pandas()["id"]) == [2, 3]
        none = client.records(filled, where={"id": -1}).to_pandas()
        assert (len(none), str(none["price"].dtype)) == (0, "decimal128(6, 2)[pyarrow]")
        fresh = rest.create(CONTRACT, wait=0)
        assert len(client.records(fresh).to_pandas()) == 0

    def test_what_is_no_table_or_no_field_is_refused(self, client: Client, filled: str) -> None:
        with pytest.raises(InvalidArgument, match="nested records are no table"):
            client.records(filled, expand=["children"]).to_pandas()
        with pytest.raises(InvalidArgument, match="'j' has no order"):
            client.records(filled, order="j").to_arrow()
        with pytest.raises(InvalidArgument, match="'nope', in order, is not a field"):
            client.records(filled, order="-nope").to_arrow()
        with pytest.raises(InvalidArgument, match="Nowhere/At_All"):
            client.records(filled, zone="Nowhere/At_All").to_arrow()
        with pytest.raises(InvalidRequest):
            client.records(filled, fields=["nope"]).to_pandas()
        with pytest.raises(InvalidArgument, match="the request cannot be sent: URL"):
            client.records(filled, where={"id": {"in": list(range(20_000))}}).to_pandas()
        with pytest.raises(NotFound):
            client.records("there_is_no_such_dataset").to_pandas()

    def test_they_are_an_iterator_as_before(self, client: Client, filled: str) -> None:
        rows = client.records(filled, page_size=2)
        assert next(rows)["id"] == 1
        assert [row["id"] for row in rows] == [2, 3]
        assert next(rows, None) is None

    def test_an_export_as_an_arrow_stream_is_what_frames_are_made_of(
        self, client: Client, filled: str, tmp_path: Any
    ) -> None:
        client.export(filled, tmp_path / "rows.arrows", fields=["id", "price"])
        with pa.ipc.open_stream((tmp_path / "rows.arrows").read_bytes()) as stream:
            table = stream.read_all()
        assert table.column("id").to_pylist() == [1, 2, 3]
        about = {name: table.schema.field(name).metadata for name in table.column_names}
        assert about == {
            "id": {b"type": b"integer"},
            "price": {b"type": b"decimal", b"precision": b"6", b"scale": b"2"},
        }
        target = client.submit(filled, tmp_path / "rows.arrows", mode="merge", wait=60)
        assert target["record_counts"]["succeeded"] == 3


class TestAggregatesAndViews:
    def test_an_aggregate_has_the_types_of_its_measures(self, client: Client, filled: str) -> None:
        asked: Json = {
            "every": "1d", "zone": "Europe/Berlin",
            "measures": [{"agg": "sum", "field": "price", "as": "total"}, {"agg": "count", "as": "n"}],
        }  # fmt: skip
        frame = client.aggregate_frame(filled, **asked).to_pandas()
        answer = client.aggregate(filled, **asked)
        assert list(frame.columns) == [column["name"] for column in answer["columns"]]
        assert all(isinstance(kind, pd.ArrowDtype) for kind in frame.dtypes)
        assert [Decimal(row["total"]) for row in answer["rows"]] == list(frame["total"]) == [Decimal("2.60")]
        assert list(frame["n"]) == [3]
        assert str(frame["start"].dtype) == "timestamp[us, tz=Europe/Berlin][pyarrow]"

    def test_a_view_is_a_frame_that_other_libraries_take_and_that_is_submitted(
        self, rest: Rest, client: Client, filled: str
    ) -> None:
        frame = client.view_frame(filled, "smooth")
        assert len(frame) == 3
        rows = client.view(filled, "smooth")["rows"]
        pandas = frame.to_pandas()
        assert list(pandas["id"]) == [row["id"] for row in rows]
        assert str(pandas["price"].dtype).startswith("decimal128")
        assert pl.DataFrame(frame)["id"].to_list() == frame.to_polars()["id"].to_list() == list(pandas["id"])
        assert duckdb.sql("SELECT sum(id)::bigint FROM frame").fetchall() == [(6,)]
        other = rest.create({**CONTRACT, "fields": [*FIELDS, {"name": "smooth", "type": "float"}]})
        client.submit(other, frame, wait=60)
        assert values(client, other, "id", "smooth") == [(row["id"], row["smooth"]) for row in rows]

    def test_mistakes_are_those_of_the_plain_calls(self, client: Client, filled: str) -> None:
        with pytest.raises(InvalidRequest):
            client.aggregate_frame(filled, measures=[{"agg": "sum", "field": "nope"}])
        with pytest.raises(NotFound):
            client.view_frame(filled, "nope")


def test_the_asynchronous_client_has_the_same_frames(rest: Rest) -> None:
    name = rest.create(CONTRACT)

    async def main() -> None:
        async with AsyncClient(rest.system.url) as client:
            await client.submit(name, pd.DataFrame({"id": [1, 2], "x": [0.5, None]}), wait=60)
            rows = client.records(name, order="-id")
            assert list((await rows.to_pandas())["id"]) == [2, 1]
            assert (await client.records(name).to_arrow()).num_rows == 2
            assert (await client.records(name).to_polars())["x"].to_list() == [0.5, None]
            assert [row["id"] async for row in rows] == [2, 1]
            left = client.records(name)
            assert (await anext(left))["id"] == 1
            await left.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(left)
            sums = await client.aggregate_frame(name, measures=[{"agg": "count", "as": "n"}])
            assert list(sums.to_pandas()["n"]) == [2]

    asyncio.run(main())
