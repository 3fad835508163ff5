"""What the client sends: paths, parameters, bodies, pages; and how it waits for jobs."""

import io
import json
import os
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from gristmill import client as api
from gristmill.client import Client, Retry

Handler = Callable[[httpx.Request], httpx.Response]


class Server:
    """Answers from a list and keeps the requests."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        return httpx.Response(200, json=self.answers.pop(0) if self.answers else job())

    @property
    def last(self) -> httpx.Request:
        return self.requests[-1]

    @property
    def path(self) -> str:
        return self.last.url.raw_path.decode()

    @property
    def body(self) -> Any:
        return json.loads(self.last.content)

    def client(self) -> Client:
        return Client("http://mill.test/", retry=Retry(attempts=1), transport=httpx.MockTransport(self))


def job(state: str = "queued", **extra: Any) -> dict[str, Any]:
    return {"id": "j1", "type": "t", "state": state, "done": state in ("succeeded", "failed", "cancelled"), **extra}


class TestSubmit:
    def test_mappings_go_as_ndjson_with_their_types_written_as_contracts_take_them(self) -> None:
        server = Server()
        identifier = uuid.UUID(int=5)
        record = {
            "at": datetime(2026, 1, 1, 12, tzinfo=UTC),
            "price": Decimal("1.10"),
            "id": identifier,
            "image": b"\x00\xff",
            "vector": np.array([0.5, 2.0], dtype=np.float32),
            "count": np.int64(2**60),
            "note": "Grüße",
        }
        server.client().submit("weather", [record], on_conflict="fail")
        assert server.path == "/api/v1/datasets/weather/records?on_conflict=fail"
        assert server.last.headers["Content-Type"] == "application/x-ndjson"
        assert server.body == {
            "at": "2026-01-01T12:00:00+00:00",
            "price": "1.10",
            "id": str(identifier),
            "image": "AP8=",
            "vector": [0.5, 2.0],
            "count": 2**60,
            "note": "Grüße",
        }

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
    def test_what_json_cannot_hold_is_refused_with_the_record(self, value: object) -> None:
        server = Server()
        with pytest.raises(ValueError, match="record 1 cannot be written as JSON"):
            server.client().submit("weather", [{"a": 1}, {"a": value}])
        assert server.requests == []

    @pytest.mark.parametrize(
        ("name", "content_type"),
        [
            ("a.json", "application/json"),
            ("a.NDJSON", "application/x-ndjson"),
            ("a.jsonl", "application/x-ndjson"),
            ("a.csv", "text/csv"),
            ("a.parquet", "application/vnd.apache.parquet"),
            ("a.zip", "application/zip"),
            ("a.arrows", "application/vnd.apache.arrow.stream"),
        ],
    )
    def test_the_suffix_of_a_file_tells_its_format(self, tmp_path: Path, name: str, content_type: str) -> None:
        server = Server()
        (tmp_path / name).write_bytes(b"content")
        server.client().submit("weather", tmp_path / name)
        assert server.last.headers["Content-Type"] == content_type
        assert server.last.headers["Content-Length"] == "7"
        assert server.last.content == b"content"

    @pytest.mark.parametrize(
        ("name", "content_type", "encoding"),
        [("a.csv.gz", "text/csv", "gzip"), ("a.NDJSON.ZST", "application/x-ndjson", "zstd")],
    )
    def test_a_compressed_file_goes_as_it_is(self, tmp_path: Path, name: str, content_type: str, encoding: str) -> None:
        server = Server()
        (tmp_path / name).write_bytes(b"content")
        server.client().submit("weather", tmp_path / name)
        assert server.last.headers["Content-Type"] == content_type
        assert server.last.headers["Content-Encoding"] == encoding
        assert server.last.content == b"content"

    def test_a_file_with_tabs_goes_as_csv(self, tmp_path: Path) -> None:
        server = Server()
        (tmp_path / "a.tsv").write_bytes(b'k\tv\r\na,b\t5" pipe\r\n\t"x\ty\nz"\r\n')
        server.client().submit("weather", tmp_path / "a.tsv")
        assert server.last.headers["Content-Type"] == "text/csv"
        assert server.last.content == b'k,v\r\n"a,b","5"" pipe"\r\n,"x\ty\nz"\r\n'

    @pytest.mark.parametrize(
        ("name", "given", "sent"),
        [
            (
                "a.csv",
                {"delimiter": ";", "decimal": ",", "null": "NA"},
                {"delimiter": ";", "decimal": ",", "null": "NA"},
            ),
            ("a.csv", {}, {}),
            ("a.tsv", {"encoding": "utf-16"}, {"encoding": "utf-16", "delimiter": "tab"}),
            ("a.tsv", {"delimiter": ";", "quote": "'"}, {"delimiter": ";", "quote": "'"}),
            ("a.tsv.gz", {"thousands": "."}, {"thousands": ".", "delimiter": "tab"}),
        ],
    )
    def test_what_a_file_is_written_in_goes_along_and_the_file_as_it_is(
        self, tmp_path: Path, name: str, given: dict[str, str], sent: dict[str, str]
    ) -> None:
        (tmp_path / name).write_bytes(b"a\tb\n1\t2\n")
        for call in ("submit", "validate"):
            server = Server(job())
            getattr(server.client(), call)("weather", tmp_path / name, **given)
            assert dict(server.last.url.params) == sent
            assert server.last.content == b"a\tb\n1\t2\n"

    def test_a_file_with_tabs_and_its_own_numbers_goes_as_csv_with_them(self, tmp_path: Path) -> None:
        (tmp_path / "a.tsv").write_bytes(b"a\tb\n1,5\t2\n")
        server = Server(job())
        server.client().submit("weather", tmp_path / "a.tsv", decimal=",")
        assert (dict(server.last.url.params), server.last.content) == ({"decimal": ","}, b'a,b\n"1,5",2\n')

    def test_an_unknown_suffix_or_format_lists_the_known_ones(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"'\.xls' \(known: \.json, .*, \.arrows, \.zip, \.xlsx, \.xlsm\)"):
            Server().client().submit("weather", tmp_path / "a.xls")
        with pytest.raises(
            ValueError, match="unknown format 'excel'; choose one of: json, ndjson, csv, parquet, arrow, zip, xlsx"
        ):
            Server().client().submit("weather", io.BytesIO(b""), format="excel")
        with pytest.raises(ValueError, match="needs a format"):
            Server().client().submit("weather", io.BytesIO(b""))

    def test_a_file_object_is_sent_from_where_it_stands(self) -> None:
        server = Server()
        file = io.BytesIO(b"header skipped|rest")
        file.seek(15)
        server.client().submit("weather", file, format="csv")
        assert server.last.content == b"rest"

    def test_a_pipe_can_be_sent_again(self) -> None:
        content = b'{"a":1}\n' * 50_000
        seen: list[bytes] = []

        def handler(request: httpx.Request) -> httpx.Response:
            seen.append(request.read())
            return httpx.Response(503 if len(seen) == 1 else 202, json=job())

        read_end, write_end = os.pipe()
        writer = threading.Thread(target=lambda: (os.write(write_end, content), os.close(write_end)))
        writer.start()
        retry = Retry(attempts=2, first_delay=0)
        client = Client("http://mill.test", retry=retry, transport=httpx.MockTransport(handler))
        with os.fdopen(read_end, "rb") as pipe:
            client.submit("weather", pipe, format="ndjson")
        writer.join()
        assert seen == [content, content]

    def test_priority_labels_and_start_time_are_parameters(self) -> None:
        server = Server()
        run_at = datetime(2026, 5, 1, tzinfo=UTC)
        server.client().submit("weather", [{"a": 1}], priority=9, labels={"team": "a", "run": "7"}, run_at=run_at)
        parameters = server.last.url.params
        assert parameters.get_list("label") == ["team=a", "run=7"]
        assert (parameters["priority"], parameters["run_at"]) == ("9", "2026-05-01T00:00:00+00:00")


class TestRecords:
    @pytest.mark.parametrize(
        ("key", "segment"),
        [
            ("JFK", "JFK"),
            (7, "7"),
            (True, "true"),
            ("a/b c%d?ü", "a%2Fb%20c%25d%3F%C3%BC"),
            ("..", "%2E%2E"),
            (["JFK", datetime(2013, 1, 1, tzinfo=UTC)], "%5B%22JFK%22%2C%222013-01-01T00%3A00%3A00%2B00%3A00%22%5D"),
        ],
    )
    def test_a_key_is_one_percent_encoded_segment(self, key: Any, segment: str) -> None:
        server = Server({})
        server.client().record("weather", key)
        assert server.path == f"/api/v1/datasets/weather/records/{segment}"

    def test_pages_are_followed_until_the_last(self) -> None:
        last = {"records": [{"n": 3}], "next_page_token": None}
        server = Server({"records": [{"n": 1}, {"n": 2}], "next_page_token": "t2"}, last)
        found = server.client().records("weather", where={"n": {"gt": 0}}, order=["-n", "m"], start="2026-01-01")
        assert [record["n"] for record in found] == [1, 2, 3]
        first, second = (json.loads(request.content) for request in server.requests)
        assert first == {"where": {"n": {"gt": 0}}, "order": ["-n", "m"], "start": "2026-01-01"}
        assert second == {**first, "page_token": "t2"}

    def test_many_keys_are_asked_for_a_thousand_at_a_time(self) -> None:
        server = Server({"records": [{"n": 1}], "missing": []}, {"records": [{"n": 2}], "missing": []})
        found = server.client().get_many("weather", (number for number in range(1001)), fields=("n",))
        assert found == [{"n": 1}, {"n": 2}]
        first, second = (json.loads(request.content) for request in server.requests)
        assert first == {"keys": list(range(1000)), "fields": ["n"]}
        assert second == {"keys": [1000], "fields": ["n"]}

    def test_search_sends_only_what_is_given(self) -> None:
        server = Server({"hits": []})
        server.client().search("weather", like=["JFK", 1], k=3, where={"n": 1})
        assert server.body == {"like": ["JFK", 1], "k": 3, "where": {"n": 1}}

    def test_several_searches_are_one_call(self) -> None:
        server = Server({"answers": [{"hits": [1]}, {"hits": []}], "took_ms": 1.5})
        found = server.client().search_many("weather", [{"text": "rain"}, {"like": 3}], k=2, mode="vector")
        assert found == [{"hits": [1]}, {"hits": []}]
        assert server.body == {"queries": [{"text": "rain"}, {"like": 3}], "k": 2, "mode": "vector"}

    def test_pages_of_a_search_are_followed_until_the_last(self) -> None:
        server = Server(
            {"hits": [{"key": 1}], "next_page_token": "t2"}, {"hits": [{"key": 2}], "next_page_token": None}
        )
        found = server.client().search_pages("weather", text="rain", k=2, page_size=1, max_distance=0.5)
        assert [hit["key"] for hit in found] == [1, 2]
        first, second = (json.loads(request.content) for request in server.requests)
        assert first == {"text": "rain", "k": 2, "page_size": 1, "max_distance": 0.5}
        assert second == {**first, "page_token": "t2"}

    def test_changes_use_the_verbs_of_the_interface(self) -> None:
        server = Server()
        client = server.client()
        client.patch("weather", "a", {"n": 2})
        assert (server.last.method, server.body) == ("PATCH", {"n": 2})
        client.delete("weather", "a")
        assert (server.last.method, server.last.content) == ("DELETE", b"")
        client.delete_where("weather", {"n": {"lt": 3}})
        assert (server.path, server.body) == ("/api/v1/datasets/weather/records/delete", {"where": {"n": {"lt": 3}}})
        assert all("Idempotency-Key" in request.headers for request in server.requests)

    def test_operations_on_whole_datasets_are_writes(self) -> None:
        server = Server()
        client, base = server.client(), "/api/v1/datasets"
        client.truncate_dataset("weather")
        assert (server.path, server.last.content) == (f"{base}/weather/truncate", b"")
        client.rename_dataset("weather", "climate")
        assert (server.path, server.body) == (f"{base}/weather/rename", {"name": "climate"})
        client.copy_dataset("weather", "warm")
        assert (server.path, server.body) == (f"{base}/weather/copy", {"name": "warm"})
        client.copy_dataset("weather", "warm", where={"t": {"gt": 20}})
        assert server.body == {"name": "warm", "where": {"t": {"gt": 20}}}
        client.create_dataset({"name": "d"}, if_not_exists=True)
        assert server.path == f"{base}?if_not_exists=true"
        client.create_dataset({"name": "d"})
        assert server.path == base
        assert all("Idempotency-Key" in request.headers for request in server.requests)
        server.answers = [{"labels": []}]
        assert client.labels(name="run", values=3) == {"labels": []}
        assert server.path == "/api/v1/jobs/labels?name=run&values=3"


class TestCompression:
    @pytest.mark.parametrize(
        ("url", "asked"),
        [
            ("http://127.0.0.1:8000", "identity"),
            ("http://localhost", "identity"),
            ("http://[::1]:1", "identity"),
            ("http://mill.test", "gzip, deflate"),
            ("https://10.0.0.1", "gzip, deflate"),
        ],
    )
    def test_a_server_on_this_machine_is_not_asked_to_compress(self, url: str, asked: str) -> None:
        server = Server({})
        with Client(url, transport=httpx.MockTransport(server)) as client:
            client.record("cities", "Oslo")
        assert server.last.headers["accept-encoding"] == asked


class TestNested:
    def test_reads_say_what_is_nested_and_how_deep(self) -> None:
        server = Server({}, {"records": [], "next_page_token": None}, {"records": []}, {"records": []})
        with server.client() as client:
            client.record("cities", "Oslo", expand=["children", "parent"], depth=3)
            assert server.path.endswith("/records/Oslo?expand=children&expand=parent&depth=3")
            list(client.records("cities", expand=("children",), depth=2))
            assert server.body == {"expand": ["children"], "depth": 2}
            client.get_many("cities", ["Oslo"], expand=["parent"])
            assert server.body == {"keys": ["Oslo"], "expand": ["parent"]}
            client.latest("cities", 5, expand=["children"])
            assert server.path.endswith("/latest?n=5&expand=children")


class TestWaiting:
    def test_the_write_itself_is_held_where_no_progress_is_shown(self) -> None:
        server = Server(job("succeeded"))
        assert server.client().submit("weather", [{"a": 1}], wait=True)["state"] == "succeeded"
        assert server.last.url.params["wait"] == "20.0"
        assert len(server.requests) == 1

    def test_progress_sees_every_look_at_the_job(self) -> None:
        server = Server(job(), job("running"), job("succeeded"))
        seen: list[str] = []
        server.client().submit("weather", [{"a": 1}], wait=True, on_progress=lambda now: seen.append(now["state"]))
        assert seen == ["queued", "running", "succeeded"]

    @pytest.mark.parametrize(("state", "kind"), [("failed", api.JobFailed), ("cancelled", api.JobCancelled)])
    def test_a_job_that_did_not_succeed_raises_with_its_reason(self, state: str, kind: type[api.UnfinishedJob]) -> None:
        server = Server(job(state, error={"detail": "the disk is full"}))
        with pytest.raises(kind, match="the disk is full") as caught:
            server.client().wait("j1")
        assert caught.value.job["state"] == state

    def test_the_wait_ends_at_its_timeout_with_the_last_state(self) -> None:
        server = Server(*[job("running")] * 50)
        with pytest.raises(api.WaitTimeout, match="still running") as caught:
            server.client().wait("j1", timeout=0.05)
        assert caught.value.job["state"] == "running"
        assert 1 < len(server.requests) < 10

    def test_job_filters_may_be_several(self) -> None:
        server = Server({"jobs": [job()]})
        assert [found["id"] for found in server.client().jobs(state=["queued", "running"], label="team=a")] == ["j1"]
        assert server.last.url.params.get_list("state") == ["queued", "running"]


class TestDatasets:
    def test_the_calls_of_a_dataset(self) -> None:
        server = Server({"datasets": [{"name": "a"}], "next_page_token": "t"}, {"datasets": []}, {"name": "a"})
        client = server.client()
        assert list(client.datasets()) == [{"name": "a"}]
        assert client.dataset("a") == {"name": "a"}
        client.create_dataset({"name": "a", "fields": []})
        assert (server.last.method, server.path) == ("POST", "/api/v1/datasets")
        client.alter_dataset("a", {"add_fields": []})
        assert (server.last.method, server.path) == ("PATCH", "/api/v1/datasets/a")
        client.drop_dataset("a")
        assert (server.last.method, server.path) == ("DELETE", "/api/v1/datasets/a?confirm=a")


class TestOwnJobs:
    def test_a_job_is_sent_with_what_was_given_and_nothing_else(self) -> None:
        server = Server()
        args = {"since": datetime(2026, 1, 1, tzinfo=UTC), "weight": Decimal("1.10"), "id": uuid.UUID(int=5)}
        server.client().submit_job("reports.daily", args, delay=2.5, labels={"a": "b"}, idempotency_key="k")
        assert (server.last.method, server.path, server.last.headers["idempotency-key"]) == (
            "POST",
            "/api/v1/jobs",
            "k",
        )
        assert server.body == {
            "type": "reports.daily",
            "args": {"since": "2026-01-01T00:00:00+00:00", "weight": "1.10", "id": str(uuid.UUID(int=5))},
            "delay": 2.5,
            "labels": {"a": "b"},
        }
        server.client().submit_job("a.b", run_at=datetime(2026, 1, 1, tzinfo=UTC), priority=0, max_attempts=1)
        assert server.body == {
            "type": "a.b", "args": {}, "run_at": "2026-01-01T00:00:00+00:00", "priority": 0, "max_attempts": 1,
        }  # fmt: skip

    def test_it_is_waited_for_as_other_writes_are(self) -> None:
        server = Server(job("succeeded", result={"rows": 3}))
        assert server.client().submit_job("a.b", wait=True)["result"] == {"rows": 3}
        assert server.path == "/api/v1/jobs?wait=20.0"
        with pytest.raises(api.JobFailed):
            Server(job("failed", error={"detail": "no", "code": "internal"})).client().submit_job("a.b", wait=True)

    def test_steps_and_functions_are_listed(self) -> None:
        assert Server({"transforms": [{"op": "cast"}]}).client().transforms() == [{"op": "cast"}]
        server = Server({"functions": [{"name": "upper"}]})
        assert server.client().functions() == [{"name": "upper"}]
        assert server.path == "/api/v1/functions"

    def test_what_pipelines_are_asked_for(self) -> None:
        server = Server({"steps": []})
        client = server.client()
        client.preview_pipeline("shirts", [{"n": 1}], contract={"pipeline": []}, limit=3)
        assert server.path == "/api/v1/datasets/shirts/pipeline/preview"
        client.validate("shirts", [{"n": 1}], pipeline=True)
        assert server.path == "/api/v1/datasets/shirts/validate?pipeline=true"
        for call, path in ((client.recompute_dataset, "recompute"), (client.fit_dataset, "fit")):
            call("shirts", where={"n": 1})
            assert server.path == f"/api/v1/datasets/shirts/{path}"

    def test_a_view_is_asked_for_by_its_window_and_filter(self) -> None:
        server = Server({"rows": [{"n": 1}], "batch": None})
        client = server.client()
        assert client.view("readings", "smooth")["rows"] == [{"n": 1}]
        assert server.path == "/api/v1/datasets/readings/views/smooth"
        start = datetime(2026, 1, 31, tzinfo=UTC)
        client.view("readings", "a/b", start=start, end="2026-02-01", where={"n": 1})
        assert server.path == (
            "/api/v1/datasets/readings/views/a%2Fb?start=2026-01-31T00%3A00%3A00%2B00%3A00&end=2026-02-01"
            "&where=%7B%22n%22%3A1%7D"
        )
        server = Server({"rows": []})
        client = server.client()
        assert client.view_bytes("readings", "smooth", "csv") == b'{"rows":[]}'
        with pytest.raises(api.InvalidArgument):
            client.view_bytes("readings", "smooth", "png")

    def test_types_and_plugins_are_listed(self) -> None:
        answer = {"job_types": [{"name": "a.b"}], "plugins": [{"name": "p", "error": "no"}]}
        assert Server(answer).client().job_types() == answer["job_types"]
        assert Server(answer).client().plugins() == answer["plugins"]
