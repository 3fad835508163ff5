"""Stored exports over HTTP with real processes: who reads files by parts reads these, in a folder and in a bucket."""

import hashlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import polars
import pyarrow.parquet
import pytest
from tests.support.rest import Rest
from tests.support.servers import add_database
from tests.support.swift import running_swift, settings_of
from tests.support.system import System

from gristmill.client import Client

ROWS = 200_000
CONTRACT = {
    "fields": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "note", "type": "text"},
        {"name": "value", "type": "float"},
    ],
    "key": ["id"],
}


@pytest.fixture(scope="module", params=["folder", "bucket"])
def filed(
    request: pytest.FixtureRequest, worker_number: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """A system with a storage. It has a key, so that links have something to do without."""
    folder = tmp_path_factory.mktemp("filed")

    def system(**settings: Any) -> Iterator[System]:
        found = System(
            add_database(os.environ["GRISTMILL_TEST_POSTGRES"], os.environ["GRISTMILL_TEST_TEMPLATE"]),
            os.environ[f"GRISTMILL_TEST_BROKER_URL_{worker_number}_OWN"],
            folder / "system",
            dispatcher_poll=0.1,
            api_require_key=True,
            api_bootstrap_key=KEY,
            **settings,
        )
        try:
            yield found.start()
        finally:
            found.stop()

    if request.param == "folder":
        (folder / "files").mkdir()
        yield from system(storage_url=folder / "files")
    else:
        with running_swift(folder / "swift") as server:
            yield from system(**settings_of(server, "gristmill"))


KEY = "gm_test_of_stored_exports_0001"
BEARER = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def large(filed: System) -> str:
    """A dataset of several row groups."""
    with Rest(filed, headers=BEARER) as rest:
        name = rest.create(CONTRACT)
    filed.query(
        f'INSERT INTO data.{name} (id, note, value, "_seq", "_ord") '
        f"SELECT g, md5(g::text), g / 4.0, 0, g FROM generate_series(1, {ROWS}) g"
    )
    return name


@pytest.fixture
def client(filed: System) -> Iterator[Client]:
    with Client(filed.url, KEY) as found:
        yield found


def statuses_of(filed: System, path: str) -> set[int]:
    """The statuses of all GETs of a file, by the log of the API."""
    events = [json.loads(line) for line in filed.log("api").splitlines() if line.startswith("{")]
    return {one["status"] for one in events if one.get("path") == path and one["method"] == "GET"}


class TestReaders:
    def test_polars_scans_a_link_and_reads_only_what_it_needs(self, client: Client, filed: System, large: str) -> None:
        job = client.create_export(large)
        assert job["result"]["rows"] == ROWS
        url = client.export_link(job["id"])
        scan = polars.scan_parquet(url)
        assert scan.select(polars.len()).collect().item() == ROWS
        found = scan.filter(polars.col("id") > ROWS - 3).select("id", "value").collect()
        assert found["id"].to_list() == [ROWS - 2, ROWS - 1, ROWS]
        assert {200, 206} >= statuses_of(filed, job["result"]["link"]) >= {206}

    def test_pyarrow_and_pandas_read_it_with_a_key(self, client: Client, filed: System, large: str) -> None:
        job = client.create_export(large, where={"id": {"le": 10}})
        answer = httpx.get(f"{filed.url}{job['result']['link']}", headers=BEARER)
        assert pyarrow.parquet.read_table(io.BytesIO(answer.content)).column("id").to_pylist() == list(range(1, 11))
        assert httpx.get(f"{filed.url}{job['result']['link']}").status_code == 401

    def test_the_client_downloads_checks_and_deletes(self, client: Client, large: str, tmp_path: Path) -> None:
        job = client.create_export(large, format="csv")
        target = tmp_path / "all.csv"
        size = client.download_export(job["id"], target)
        assert (size, hashlib.sha256(target.read_bytes()).hexdigest()) == (
            job["result"]["bytes"],
            job["result"]["sha256"],
        )
        assert target.read_bytes().count(b"\n") == ROWS + 1
        assert next(one["id"] for one in client.exports(large)) == job["id"]
        assert client.delete_export(job["id"], wait=True)["result"]["removed"] == 1
        assert job["id"] not in [one["id"] for one in client.exports(large)]

    def test_any_part_is_that_of_the_whole(self, client: Client, filed: System, large: str) -> None:
        link = filed.url + client.create_export(large, format="ndjson", where={"id": {"le": 40000}})["result"]["link"]
        whole = httpx.get(link, headers=BEARER).content
        size = len(whole)
        assert size > 2 * 1024 * 1024
        for start, end in ((0, 1), (size - 1, size), (1024 * 1024 - 1, 1024 * 1024 + 1), (5, size - 5)):
            part = httpx.get(link, headers={**BEARER, "Range": f"bytes={start}-{end - 1}"})
            assert (part.status_code, part.content == whole[start:end]) == (206, True)
        head = httpx.head(link, headers=BEARER)
        assert (head.status_code, int(head.headers["content-length"]), head.content) == (200, size, b"")
