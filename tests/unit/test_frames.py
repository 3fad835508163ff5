"""Frames as the client sends them: what libraries hold arrives as it is, or is refused with column, row and value."""

import datetime as dt
import io
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.frames import refused, sent
from tests.support.nested_columns import NESTED
from tests.support.values import CASES

from gristmill.client import InvalidArgument
from gristmill.client._bodies import records_body
from gristmill.client._frames import first_rows, write_frame
from gristmill.client._json import dumps

UTC = dt.UTC
NOON = dt.datetime(2026, 1, 31, 12, tzinfo=UTC)
COLUMNS = [strategy for case in CASES.values() for found in case.columns.values() for strategy in found]


class TestShape:
    @pytest.mark.parametrize(
        ("frame", "said"),
        [
            (pd.DataFrame({"v": [1, 2]}, index=["x", "y"]), "no name and would be lost (it begins with 'x')"),
            (pd.DataFrame({"v": [1]}, index=pd.to_datetime(["2026"])), "the index has no name and would be lost"),
            (
                pd.DataFrame({"v": [1]}, index=pd.MultiIndex.from_tuples([("a", 1)], names=["k", None])),
                "the index has 2 levels, named ['k', None]",
            ),
            (
                pd.DataFrame({"v": [1]}, index=pd.Index([1], name="v")),
                "a level of the index and a column are both called 'v'",
            ),
            (
                pd.DataFrame({"v": [1]}, index=pd.MultiIndex.from_tuples([("a", 1)], names=["k", "k"])),
                "a level of the index and another level are both called 'k'",
            ),
            (
                pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")])),
                "the columns have 2 levels (the first is ('a', 'b'))",
            ),
            (pd.DataFrame([[1, 2]], columns=["a", "a"]), "there are two columns called 'a'"),
            (pd.DataFrame([[1, 2]]), "the column 0, at place 0, has a name that is no text"),
            (pd.DataFrame([[1]], columns=[None]), "the column None, at place 0, has a name that is no text"),
            (pd.DataFrame({"v": [1]}, index=pd.Index([1], name=7)), "the column 7, at place 0"),
            (pd.DataFrame(index=range(3)), "the frame has no columns"),
            (pl.DataFrame(), "the frame has no columns"),
            (pa.table({}), "the frame has no columns"),
            (pa.table([[1], [2]], names=["a", "a"]), "there are two columns called 'a'"),
            (pd.Series([1], name="a"), "a Series is one column: make a frame of it"),
            (pl.Series("a", [1]), "a Series is one column: make a frame of it"),
            (pa.array([1]), "a Int64Array is one column: make a frame of it"),
            (pa.chunked_array([[1]]), "a ChunkedArray is one column: make a frame of it"),
            (pl.LazyFrame({"a": [1]}), "a LazyFrame is not computed yet"),
            (pl.DataFrame({"a": pl.Series([1], dtype=pl.Int128)}), "the DataFrame cannot be read as Arrow data"),
        ],
    )  # fmt: skip
    def test_what_would_lose_something_is_refused(self, frame: Any, said: str) -> None:
        assert said in refused(frame)

    def test_named_levels_of_an_index_are_columns(self) -> None:
        index = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["k", "n"])
        assert sent(pd.DataFrame({"v": [5, 6]}, index=index)).to_pydict() == {"k": ["a", "b"], "n": [1, 2], "v": [5, 6]}
        named = pd.DataFrame({"v": [5]}, index=pd.Index(["a"], name="k"))
        assert sent(named).to_pydict() == {"k": ["a"], "v": [5]}
        assert list(named.columns) == ["v"]

    def test_row_numbers_are_left_out_also_after_filters_and_sorts(self) -> None:
        frame = pd.DataFrame({"v": [3, 1, 2]})
        assert sent(frame[frame.v > 1].sort_values("v")).to_pydict() == {"v": [2, 3]}

    def test_no_rows_have_their_columns(self) -> None:
        table = sent(pd.DataFrame({"a": pd.array([], "Int64"), "b": pd.Series([], dtype=object)}))
        assert (table.num_rows, table.schema.types) == (0, [pa.int64(), pa.null()])

    def test_a_format_beside_a_frame_is_refused(self) -> None:
        with (
            pytest.raises(InvalidArgument, match="a frame is sent as arrow, not as 'csv'"),
            records_body(pd.DataFrame({"a": [1]}), "csv"),
        ):
            pass


class TestOtherLibraries:
    @settings(max_examples=200, deadline=None)
    @given(found=st.lists(st.one_of(*COLUMNS, NESTED.map(lambda one: one.array)), min_size=1, max_size=3))
    def test_any_arrow_columns_arrive_with_their_values(self, found: list[pa.Array]) -> None:
        rows = min(map(len, found))
        table = pa.table({f"c{place}": one.slice(0, rows) for place, one in enumerate(found)})
        for frame in (table, table.to_reader(2), *table.to_batches()[:1]):
            got = sent(frame)
            for name, before in zip(table.column_names, table.columns, strict=True):
                assert got.column(name).cast(before.type).equals(before) or str(got.column(name).to_pylist()) == str(
                    before.to_pylist()
                )

    def test_polars_with_its_own_types(self) -> None:
        frame = pl.DataFrame(
            {
                "s": ["x", None], "c": pl.Series(["a", None], dtype=pl.Categorical), "l": [["a"], None],
                "e": pl.Series(["b", None], dtype=pl.Enum(["a", "b"])), "d": [Decimal("1.5"), None],
                "a": pl.Series([[1.0, 2.0], None], dtype=pl.Array(pl.Float32, 2)), "b": [b"x", None],
                "n": pl.Series([2**64 - 1, None], dtype=pl.UInt64), "t": [NOON, None], "st": [{"x": "a"}, {"x": None}],
                "m": pl.Series([{"x": "a"}, {"x": None}], dtype=pl.Struct({"x": pl.Categorical})),
            }
        )  # fmt: skip
        table = sent(frame)
        assert table.to_pylist() == frame.to_dicts()
        assert not any("view" in str(kind) for kind in table.schema.types)

    def test_a_part_of_a_column_of_views_does_not_bring_the_texts_of_all(self) -> None:
        frame = pl.DataFrame({"s": [f"{'x' * 100}{number}" for number in range(300_000)]})
        file = io.BytesIO()
        write_frame(frame, file)
        assert file.tell() < 1.2 * frame.estimated_size()

    def test_duckdb(self) -> None:
        relation = duckdb.sql("SELECT range AS a, 'x' || range AS s FROM range(3)")
        assert sent(relation).to_pydict() == {"a": [0, 1, 2], "s": ["x0", "x1", "x2"]}

    def test_a_reader_that_fails_names_the_row(self) -> None:
        def batches() -> Any:
            yield pa.record_batch({"a": [1, 2]})
            raise OSError("the disk is gone")

        reader = pa.RecordBatchReader.from_batches(pa.schema({"a": pa.int64()}), batches())
        assert "the frame cannot be read from row 2 on" in refused(reader)

    def test_batches_are_small_enough_for_the_server(self) -> None:
        table = pa.table({"a": ["x" * 1_000_000] * 100})
        file = io.BytesIO()
        write_frame(table, file)
        file.seek(0)
        with pa.ipc.open_stream(file) as stream:
            assert max(batch.nbytes for batch in stream) <= 16 * 1024 * 1024


class TestMemory:
    def test_a_frame_is_never_copied_as_a_whole(self) -> None:
        frame = pd.DataFrame(
            {
                "n": np.arange(500_000), "x": np.random.default_rng(1).random(500_000),
                "o": pd.Series([f"text {number}" for number in range(500_000)], dtype=object),
                "t": pd.Series([f"{'x' * 50}{number}" for number in range(500_000)], dtype="str"),
            }
        )  # fmt: skip
        used = pa.proxy_memory_pool(pa.default_memory_pool())
        before = pa.default_memory_pool()
        pa.set_memory_pool(used)
        tracemalloc.start()
        try:
            with tempfile.TemporaryFile() as file:
                write_frame(frame, file)
                written = file.tell()
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            pa.set_memory_pool(before)
        assert written > 40_000_000
        assert used.max_memory() < 16_000_000
        assert most < 16_000_000


class TestPreview:
    @pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
    def test_the_first_rows_are_records(self, make: Callable[[Any], Any]) -> None:
        rows = first_rows(make({"n": [1, 2, 3], "t": [NOON] * 3, "l": [dt.timedelta(seconds=-1.5)] * 3}), 2)
        moment = "2026-01-31T12:00:00+00:00"
        expected = f'[{{"n":1,"t":"{moment}","l":"-PT1.5S"}},{{"n":2,"t":"{moment}","l":"-PT1.5S"}}]'
        assert dumps(rows).decode() == expected

    def test_objects_are_json_again_and_nanoseconds_stay(self) -> None:
        frame = pd.DataFrame({"j": [{"a": [1]}, None], "l": pd.to_timedelta([1, None], unit="ns")})
        assert dumps(first_rows(frame, 5)) == b'[{"j":{"a":[1]},"l":"PT0.000000001S"},{"j":null,"l":null}]'


def test_without_pyarrow_the_client_works_and_says_how_frames_are_sent() -> None:
    code = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pyarrow", "pandas", "numpy"):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Missing())
import httpx
from gristmill.client import Client, InvalidArgument
class Frame:
    def __arrow_c_stream__(self, requested_schema=None): ...
def answer(request):
    job = {"id": "j", "done": True, "state": "succeeded"}
    return httpx.Response(200, json={**job, "records": [], "next_page_token": None})
with Client("http://x", transport=httpx.MockTransport(answer)) as client:
    assert client.submit("d", [{"a": 1}], wait=True)["id"] == "j"
    assert list(client.records("d")) == []
    for call in (lambda: client.submit("d", Frame()), lambda: client.records("d").to_pandas(),
                 lambda: client.aggregate_frame("d"), lambda: client.view_frame("d", "v")):
        try:
            call()
        except InvalidArgument as error:
            assert "pip install 'gristmill[frames]'" in str(error), error
        else:
            raise AssertionError
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
