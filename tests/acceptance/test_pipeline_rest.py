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
