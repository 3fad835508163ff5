"""A pipeline with all processes running: a file of many chunks, mapped, filtered, embedded, its bad records kept."""

import csv
from pathlib import Path

import pytest
from tests.support.rest import Json, Rest
from tests.support.system import System

from gristmill.client import Client, JobFailed

SHIRTS: Json = {
    "input": ["k", "note", {"name": "size_name", "type": "text", "required": True}],
    "fields": [
        {"name": "k", "type": "integer", "required": True},
        {"name": "size", "type": "integer", "computed": True, "required": True, "filterable": True},
        {"name": "note", "type": "text"},
    ],
    "key": ["k"],
    "pipeline": [
        {"op": "filter", "where": {"size_name": {"ne": "none"}}},
        {"op": "map", "column": "size_name", "as": "size", "values": {"S": 1, "M": 2, "L": 3}, "otherwise": "error"},
    ],
    "embedding": {"from": ["note"], "embedder": "hashing"},
}
SIZES = {"S": 1, "M": 2, "L": 3}


@pytest.mark.promise(4)
def test_every_record_of_a_large_file_is_stored_dropped_or_kept_with_its_error(
    rest: Rest, system: System, tmp_path: Path
) -> None:
    name, rows = rest.create(SHIRTS), 25_000
    sizes = [("none" if row % 11 == 0 else "XXL" if row % 1009 == 0 else "SML"[row % 3]) for row in range(rows)]
    path = tmp_path / "shirts.csv"
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["k", "size_name", "note"])
        out.writerows((row, size, f"shirt {row}") for row, size in enumerate(sizes))
    dropped, bad = sizes.count("none"), [row for row, size in enumerate(sizes) if size == "XXL"]
    with Client(system.url) as client:
        job = client.submit(name, path, on_error="quarantine", wait=60)
        assert job["state"] == "succeeded"
        assert job["chunks"]["total"] > 1
        assert job["record_counts"] == {
            "total": rows, "succeeded": rows - dropped - len(bad), "rejected": len(bad), "superseded": 0,
            "dropped": dropped,
        }  # fmt: skip
        assert job["result"] == {"rows": rows - dropped - len(bad)}
        found = list(client.rejects(job["id"], page_size=100))
        assert [(item["record"], item["values"]["size_name"]) for item in found] == [(row, "XXL") for row in bad]
        stored = {record["k"]: record["size"] for record in rest.rows(name)}
        assert stored == {row: SIZES[size] for row, size in enumerate(sizes) if size in SIZES}
        (hit,) = client.search(name, text="shirt 24998", k=1)["hits"]
        assert hit["record"]["k"] == 24_998

        with pytest.raises(JobFailed) as failed:
            client.submit(name, [{"k": 1, "size_name": "S"}, {"k": 2, "size_name": "XXL"}], wait=60)
        error = failed.value.job["error"]
        assert (error["code"], error["record"]) == ("record_unfit", 1)
        job = client.submit(name, [{"k": 2, "size_name": "L"}], wait=60)
        assert job["state"] == "succeeded"
        assert client.record(name, 2)["size"] == 3


@pytest.mark.promise(9)
def test_a_messy_file_becomes_typed_rows_by_expressions(rest: Rest) -> None:
    name = rest.create(
        {
            "input": ["k", {"name": "price_text", "type": "text"}, "sold"],
            "fields": [
                {"name": "k", "type": "integer", "required": True},
                {"name": "price", "type": "decimal", "precision": 10, "scale": 2, "computed": True},
                {"name": "sold", "type": "timestamp"},
                {"name": "month", "type": "integer", "computed": True},
            ],
            "key": ["k"],
            "pipeline": [
                {"op": "filter", "condition": "price_text != 'n/a'"},
                {"op": "derive", "as": "price", "value": "decimal(replace(replace(price_text, '.', ''), ',', '.'))"},
                {"op": "derive", "as": "month", "value": "month(sold, 'Europe/Berlin') if price > 1 else None"},
            ],
        }
    )
    body = (
        'k,price_text,sold\n1,"1.234,50",2026-01-31T23:30:00Z\n2,n/a,\n3,"0,99",2026-01-31T12:00:00Z\n4,free,\n'
        '9007199254740993,"99.999.999,99",2026-06-30T22:30:00Z\n'
    )
    csv_ = {"content-type": "text/csv"}
    job = rest.succeeded(rest.post(name, body.encode(), headers=csv_, params={"on_error": "quarantine"}))
    counts = job["record_counts"]
    assert (counts["succeeded"], counts["dropped"], counts["rejected"]) == (3, 1, 1)
    assert [(row["k"], row["price"], row["month"]) for row in rest.rows(name)] == [
        (1, "1234.50", 2), (3, "0.99", None), (9007199254740993, "99999999.99", 7),
    ]  # fmt: skip
    (reject,) = rest.http.get(f"/api/v1/jobs/{job['id']}/rejects").json()["rejects"]
    assert reject["record"] == 3
    assert "free" in reject["errors"][0]["reason"]
    functions = rest.http.get("/api/v1/functions").json()["functions"]
    assert {"decimal", "replace", "month", "coalesce"} <= {one["name"] for one in functions}
