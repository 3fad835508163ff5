"""Parquet and Arrow streams over HTTP: from a file to rows that are found; everything wrong is a 4xx with its place."""

import datetime as dt
import io
from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.refusals import place, refused
from tests.support.rest import Rest

PARQUET = {"content-type": "application/vnd.apache.parquet"}
ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
CONTRACT = {
    "fields": [
        {"name": "k", "type": "integer", "required": True},
        {"name": "t", "type": "text"},
        {"name": "at", "type": "timestamp"},
        {"name": "price", "type": "decimal", "precision": 10, "scale": 2},
    ],
    "key": ["k"],
    "embedding": {"dimensions": 8, "metric": "l2"},
}
ROWS = 3000
VECTORS = np.random.default_rng(5).normal(size=(ROWS, 8)).astype(np.float32)
MOMENT = dt.datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=dt.UTC)
TABLE = pa.table(
    {
        "k": pa.array([2**60 + n for n in range(ROWS)]),
        "t": pa.array([None if n % 5 == 0 else f"täxt {n}" for n in range(ROWS)]).dictionary_encode(),
        "at": pa.array([MOMENT + dt.timedelta(hours=n) for n in range(ROWS)], pa.timestamp("ns", "Asia/Tokyo")),
        "price": pa.array([Decimal(n) / 4 for n in range(ROWS)], pa.decimal128(12, 2)),
        "_embedding": pa.FixedSizeListArray.from_arrays(pa.array(VECTORS.reshape(-1)), 8),
    }
)


def as_parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=1000)
    return sink.getvalue()


def as_stream(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=700)
    return sink.getvalue()


@pytest.fixture(scope="module")
def name(rest: Rest) -> str:
    return rest.create(CONTRACT)


class TestStored:
    @pytest.mark.parametrize(("headers", "body"), [(PARQUET, as_parquet(TABLE)), (ARROW, as_stream(TABLE))])
    def test_a_file_of_columns_reads_back_equal_and_is_found(
        self, rest: Rest, headers: dict[str, str], body: bytes
    ) -> None:
        made = rest.create(CONTRACT)
        job = rest.succeeded(rest.post(made, body, headers=headers))
        assert job["record_counts"]["succeeded"] == ROWS
        rows = rest.rows(made)
        assert [row["k"] for row in rows] == [2**60 + n for n in range(ROWS)]
        assert rows[7] == {
            "k": 2**60 + 7,
            "t": "täxt 7",
            "at": "2026-01-31T19:00:00.123456Z",
            "price": "1.75",
        }
        assert rows[5]["t"] is None
        answer = rest.http.post(
            f"/api/v1/datasets/{made}/search", json={"vector": [float(x) for x in VECTORS[1234]], "k": 1}
        )
        hit = answer.json()["hits"][0]
        assert hit["record"]["k"] == 2**60 + 1234
        assert hit["distance"] < 1e-5

    @pytest.mark.parametrize("headers", [PARQUET, ARROW])
    def test_structs_and_lists_become_json_whose_members_are_found(self, rest: Rest, headers: dict[str, str]) -> None:
        made = rest.create({"fields": [{"name": "n", "type": "integer"}, {"name": "meta", "type": "json"}]})
        metas = [{"year": 2000 + n, "tags": [f"t{n % 3}", None], "at": MOMENT} for n in range(ROWS)]
        table = pa.table({"n": range(ROWS), "meta": metas})
        job = rest.succeeded(rest.post(made, (as_parquet if headers is PARQUET else as_stream)(table), headers=headers))
        assert job["record_counts"]["succeeded"] == ROWS
        found = rest.rows(made, where='{"meta.year": {"ge": 4990}, "meta.tags": {"contains": ["t1"]}}')
        shown = MOMENT.isoformat().replace("+00:00", "Z")
        assert [row["n"] for row in found] == [2992, 2995, 2998]
        assert found[0]["meta"] == {"year": 4992, "tags": ["t1", None], "at": shown}


class TestRefused:
    @pytest.mark.parametrize(("headers", "body"), [(PARQUET, as_parquet(TABLE)), (ARROW, as_stream(TABLE))])
    def test_a_truncated_file(self, rest: Rest, name: str, headers: dict[str, str], body: bytes) -> None:
        problem = refused(rest.post(name, body[: len(body) // 2], headers=headers), 400, "malformed")
        assert place(problem) == ("", "malformed")

    @pytest.mark.parametrize(("headers", "write"), [(PARQUET, as_parquet), (ARROW, as_stream)])
    def test_a_wrong_schema_names_its_columns(
        self, rest: Rest, name: str, headers: dict[str, str], write: object
    ) -> None:
        table = TABLE.set_column(1, "t", pa.array([1] * ROWS)).drop_columns(["k"])
        problem = refused(rest.post(name, write(table), headers=headers), 422, "invalid")
        assert [(item["pointer"], item["code"]) for item in problem["errors"]] == [
            ("/t", "wrong_type"),
            ("/k", "missing"),
        ]

    def test_a_bad_value_names_its_record_and_nothing_is_stored(self, rest: Rest) -> None:
        made = rest.create(CONTRACT)
        prices = [Decimal(n) for n in range(ROWS)]
        prices[2500] = Decimal("123456789.5")
        table = TABLE.set_column(3, "price", pa.array(prices, pa.decimal128(12, 2)))
        problem = refused(rest.post(made, as_parquet(table), headers=PARQUET), 422, "invalid")
        assert place(problem) == ("/2500/price", "too_many_digits")
        assert "123456789.50" in problem["errors"][0]["reason"]
        assert rest.rows(made) == []

    @pytest.mark.parametrize(("headers", "write"), [(PARQUET, as_parquet), (ARROW, as_stream)])
    def test_bad_records_are_kept_aside_and_the_others_stored(
        self, rest: Rest, headers: dict[str, str], write: Callable[[pa.Table], bytes]
    ) -> None:
        made = rest.create(CONTRACT)
        vectors = VECTORS.copy()
        vectors[[0, 999, 2000]] = np.nan
        bad = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 8)
        body = write(TABLE.set_column(4, "_embedding", bad))
        job = rest.succeeded(rest.post(made, body, headers=headers, params={"on_error": "quarantine"}))
        assert (job["record_counts"]["succeeded"], job["record_counts"]["rejected"]) == (ROWS - 3, 3)
        assert len(rest.rows(made)) == ROWS - 3
        kept = rest.http.get(f"/api/v1/jobs/{job['id']}/rejects").json()["rejects"]
        assert [item["record"] for item in kept] == [0, 999, 2000]
        assert kept[1]["errors"][0]["code"] == "not_finite"

    def test_validate_takes_them_too(self, rest: Rest, name: str) -> None:
        answer = rest.http.post(f"/api/v1/datasets/{name}/validate", content=as_stream(TABLE), headers=ARROW)
        assert (answer.status_code, answer.json()["records"]) == (200, ROWS)
