"""Reads and search over REST, from the submitted batch through sealing to the hits, in one process."""

import json
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from gristmill.api.app import make_app
from gristmill.bootstrap.api import ApiServices
from gristmill.bootstrap.shared import Gristmill
from gristmill.bootstrap.worker import build_executor
from gristmill.core.config import Settings
from gristmill.jobs.repository.dispatch import mark_sent
from gristmill.search.index.scheduler import IndexScheduler
from gristmill.search.index.settings import BuildSettings

BOOKS = {
    "name": "books",
    "fields": [
        {"name": "shelf", "type": "text", "required": True},
        {"name": "title", "type": "text", "required": True},
        {"name": "printed", "type": "date"},
    ],
    "key": ["shelf", "title"],
    "time_field": "printed",
    "embedding": {"from": ["title"], "embedder": "hashing"},
}
READS = ["records", "export"]
TITLES = ["The red bicycle", "Apples and pears", "Red apples", "Night sky / day sky", "100 % wool"]


class Rest:
    """The REST interface, and a worker that runs when it is told to."""

    def __init__(self, url: str) -> None:
        self.gristmill = Gristmill(Settings(database_url=url, log_level="error"), "test", pool=8)
        self.services = ApiServices(self.gristmill)
        self.http = TestClient(make_app(self.services), base_url="http://localhost/api/v1/")
        self._executor = build_executor(self.gristmill)

    def work(self) -> None:
        """Run every due chunk of both queues."""
        while True:
            with self.gristmill.database.transaction() as connection:
                found = [*mark_sent(connection, "default", 10), *mark_sent(connection, "long", 10)]
            if not found:
                return
            for message in found:
                self._executor.run(message.job_id, message.number, message.dispatch)

    def get(self, path: str, status: int = 200, **query: Any) -> Any:
        answer = self.http.get(path, params=query)
        assert answer.status_code == status, answer.text
        return answer.json()

    def post(self, path: str, body: Any, status: int = 200) -> Any:
        answer = self.http.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def titles(self, **search: Any) -> list[str]:
        return [hit["record"]["title"] for hit in self.post("datasets/books/search", search)["hits"]]


@pytest.fixture
def rest(database_url: str) -> Iterator[Rest]:
    found = Rest(database_url)
    with found.http:
        found.post("datasets", BOOKS, 202)
        records = [
            {"shelf": "a/1", "title": title, "printed": f"200{place}-01-01"} for place, title in enumerate(TITLES)
        ]
        found.post("datasets/books/records", records, 202)
        yield found
    found.gristmill.database.close()


class TestReads:
    def test_nothing_is_there_before_the_jobs_ran(self, rest: Rest) -> None:
        assert rest.get("datasets/books/records") == {"records": [], "next_page_token": None}
        assert rest.titles(text="apples") == []
        rest.work()
        assert len(rest.get("datasets/books/records")["records"]) == len(TITLES)

    @pytest.mark.parametrize("title", TITLES)
    def test_a_composite_key_is_a_percent_encoded_array(self, rest: Rest, title: str) -> None:
        rest.work()
        key = urllib.parse.quote(json.dumps(["a/1", title]), safe="")
        assert rest.get(f"datasets/books/records/{key}")["title"] == title

    def test_an_absent_key_is_a_404_problem_and_a_wrong_one_a_422(self, rest: Rest) -> None:
        rest.work()
        assert rest.get('datasets/books/records/["a","b"]', 404)["code"] == "unknown_record"
        problem = rest.get("datasets/books/records/a", 422)
        assert problem["errors"][0]["pointer"] == "/path/key"
        assert rest.get("datasets/nothing/records/a", 404)["code"] == "unknown_dataset"

    def test_pages_windows_filters_and_the_latest(self, rest: Rest) -> None:
        rest.work()
        where = json.dumps({"printed": {"ne": "2002-01-01"}})
        query = {"start": "2001-01-01", "end": "2004-01-01", "where": where, "order": "-printed", "page_size": 2}
        first = rest.get("datasets/books/records", **query)
        second = rest.get("datasets/books/records", page_token=first["next_page_token"], **query)
        years = [record["printed"][:4] for page in (first, second) for record in page["records"]]
        assert years == ["2004", "2003", "2001"]
        assert second["next_page_token"] is None
        assert [record["title"] for record in rest.get("datasets/books/latest", n=2)["records"]] == TITLES[:2:-1]

    def test_bad_parameters_are_named(self, rest: Rest) -> None:
        rest.work()
        assert rest.get("datasets/books/records", 400, where="{")["errors"][0]["pointer"] == "/query/where"
        for bad in ({"page_size": 0}, {"page_size": 1001}, {"order": "colour"}, {"start": "soon"}, {"include": "all"}):
            assert rest.get("datasets/books/records", 422, **bad)["errors"]
        assert rest.get("datasets/books/records", 400, page_token="x")["errors"][0]["field"] == "page_token"

    @pytest.mark.parametrize("depth", [20, 150, 5000])
    def test_a_filter_that_nests_too_deeply_is_called_so_wherever_it_stands(self, rest: Rest, depth: int) -> None:
        deep = '{"not":' * depth + '{"shelf":"a"}' + "}" * depth
        json_type = {"content-type": "application/json"}
        answers = [
            rest.http.post("datasets/books/records/delete", content=f'{{"where":{deep}}}', headers=json_type),
            rest.http.post("datasets/books/search", content=f'{{"text":"a","where":{deep}}}', headers=json_type),
        ]
        if depth < 1000:  # A longer URL is none that HTTP servers take.
            answers += [rest.http.get(f"datasets/books/{call}", params={"where": deep}) for call in READS]
        for answer in answers:
            problem = answer.json()
            assert (answer.status_code, problem["errors"][0]["code"]) == (422, "too_deep"), problem
            assert "nested" in problem["errors"][0]["reason"]

    def test_vectors_come_on_request_only(self, rest: Rest) -> None:
        rest.work()
        assert "_embedding" not in rest.get("datasets/books/latest")["records"][0]
        record = rest.get("datasets/books/latest", include="embedding")["records"][0]
        assert len(record["_embedding"]) == 256


class TestSearch:
    def test_by_text_by_likeness_and_by_vector(self, rest: Rest) -> None:
        rest.work()
        assert rest.titles(text="red apples", k=2) == ["Red apples", "Apples and pears"]
        assert rest.titles(like=["a/1", "Red apples"], k=1) == ["Apples and pears"]
        stored = rest.get("datasets/books/latest", n=5, include="embedding")["records"]
        wool = next(record for record in stored if record["title"] == TITLES[4])
        assert rest.titles(vector=wool["_embedding"], k=1, where={"shelf": "a/1"}) == [TITLES[4]]

    def test_refusals_are_problems_with_pointers(self, rest: Rest) -> None:
        rest.work()
        problem = rest.post("datasets/books/search", {"text": "x", "k": 0, "where": {"colour": "red"}}, 422)
        assert [place["pointer"] for place in problem["errors"]] == ["/k", "/where/colour"]
        answer = rest.http.post("datasets/books/search", content=b'{"k"', headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed")

    @pytest.mark.promise(5)
    def test_sealing_changes_nothing_that_a_search_finds(self, rest: Rest) -> None:
        more = [{"shelf": f"b{n % 7}", "title": f"Volume {n} of nothing at all"} for n in range(1200)]
        rest.post("datasets/books/records", more, 202)
        rest.work()
        before = rest.post("datasets/books/search", {"text": "red apples", "k": 3})
        assert IndexScheduler(rest.gristmill.database, BuildSettings(seal_rows=1000)).run() == 1
        rest.work()
        (job,) = rest.get("jobs", type="index.build")["jobs"]
        assert (job["state"], job["dataset"]) == ("succeeded", "books")
        index = rest.get("datasets/books")["index"]
        assert (index["segments"], index["sealed_rows"], index["tail_rows"], index["building"]) == (1, 1205, 0, None)
        rest.services.search._ranker._catalogue._known.clear()
        after = rest.post("datasets/books/search", {"text": "red apples", "k": 3})
        assert (before["plan"], after["plan"]) == ("exact", "segments")
        assert [hit["key"] for hit in after["hits"]] == [hit["key"] for hit in before["hits"]]

    def test_a_drop_ends_queued_builds_and_clears_the_catalogue(self, rest: Rest) -> None:
        more = [{"shelf": "b", "title": f"Volume {n}"} for n in range(1200)]
        rest.post("datasets/books/records", more, 202)
        rest.work()
        assert IndexScheduler(rest.gristmill.database, BuildSettings(seal_rows=1000)).run() == 1
        assert rest.http.delete("datasets/books", params={"confirm": "books"}).status_code == 202
        rest.work()
        (job,) = rest.get("jobs", type="index.build")["jobs"]
        assert job["state"] in ("cancelled", "succeeded")
        with rest.gristmill.database.autocommit() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM gristmill.segments").scalar() == 0
        assert rest.post("datasets/books/search", {"text": "x"}, 404)["code"] == "unknown_dataset"
