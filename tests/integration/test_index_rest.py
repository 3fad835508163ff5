"""The index over REST: plan report, hold, rebuild, recall in the dataset's body and in /metrics."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.integration.test_read_rest import BOOKS, Rest

from gristmill.search.index.scheduler import IndexScheduler
from gristmill.search.index.settings import BuildSettings
from gristmill.search.recall.keeper import RecallKeeper

INDEX = "datasets/books/index"


@pytest.fixture
def rest(database_url: str) -> Iterator[Rest]:
    found = Rest(database_url)
    with found.http:
        found.post("datasets", BOOKS, 202)
        found.work()
        more = [{"shelf": f"b{n % 7}", "title": f"Volume {n} of nothing at all"} for n in range(1200)]
        found.post("datasets/books/records", more, 202)
        found.work()
        yield found
    found.gristmill.database.close()


def patch(rest: Rest, body: Any, status: int = 200) -> Any:
    answer = rest.http.patch(INDEX, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


class TestPlanReport:
    def test_a_tail_that_is_due_and_what_became_of_it(self, rest: Rest) -> None:
        settings = BuildSettings(seal_rows=10_000)
        rest.services.indexes._settings = settings
        before = rest.get(INDEX)
        assert (before["segments"], before["tail_rows"], before["building"]) == ([], 1200, None)
        assert 0 < before["next"].pop("expected_seconds") < 10
        assert before["next"] == {"step": "seal", "first": 1, "rows": 1200, "why": "the tail has at least 1000 records"}
        assert before["recall"]["exact"] is True
        assert IndexScheduler(rest.gristmill.database, settings, settle_seconds=0).run() == 1
        rest.work()
        after = rest.get(INDEX)
        (segment,) = after["segments"]
        (job,) = rest.get("jobs", type="index.build")["jobs"]
        assert (segment["state"], segment["rows"], segment["built_rows"]) == ("ready", 1200, 1200)
        assert (segment["first"], segment["dead_share"], segment["job"]) == (1, 0.0, job["id"])
        assert segment["parameters"]["m"] == 16
        assert segment["bytes"] > 100_000
        assert (after["next"], after["waits_for"], after["failures"]) == (None, None, [])
        assert (job["result"]["step"], job["result"]["rows"]) == ("seal", 1200)

    def test_failures_are_shown(self, rest: Rest) -> None:
        assert IndexScheduler(rest.gristmill.database, BuildSettings(seal_rows=1000)).run() == 1
        with rest.gristmill.database.transaction() as connection:
            connection.exec_driver_sql("UPDATE gristmill.jobs SET state = 'running' WHERE type = 'index.build'")
            connection.exec_driver_sql(
                "UPDATE gristmill.jobs SET state = 'failed', finished_at = now(),"
                """ error = '{"code": "index_build_interrupted", "detail": "a lock was not had"}'"""
                " WHERE type = 'index.build'"
            )
        (failure,) = rest.get(INDEX)["failures"]
        assert (failure["code"], failure["detail"]) == ("index_build_interrupted", "a lock was not had")

    def test_unknown_datasets_and_those_without_vectors(self, rest: Rest) -> None:
        assert rest.get("datasets/nothing/index", 404)["code"] == "unknown_dataset"
        rest.post("datasets", {"name": "plain", "fields": [{"name": "id", "type": "integer"}]}, 202)
        rest.work()
        assert rest.get("datasets/plain/index", 422)["code"] == "not_searchable"
        assert rest.post("datasets/plain/index/rebuild", None, 422)["code"] == "not_searchable"

    def test_one_that_is_still_being_created(self, rest: Rest) -> None:
        rest.post("datasets", {**BOOKS, "name": "later"}, 202)
        assert rest.get("datasets/later/index", 409)["code"] == "conflict"


class TestHold:
    def test_held_builds_are_not_begun_until_they_are_let_go(self, rest: Rest) -> None:
        held = patch(rest, {"hold": True})
        assert (held["hold"], held["waits_for"]) == (True, "the builds of this dataset are held back")
        assert rest.get("datasets/books")["index"]["hold"] is True
        sealer = IndexScheduler(rest.gristmill.database, BuildSettings(seal_rows=1000))
        assert sealer.run() == 0
        assert patch(rest, {"hold": False})["waits_for"] is None
        assert sealer.run() == 1

    def test_a_rebuild_that_is_asked_for_is_done_all_the_same(self, rest: Rest) -> None:
        patch(rest, {"hold": True})
        rest.post(f"{INDEX}/rebuild", None, 202)
        rest.work()
        assert rest.get("datasets/books")["index"]["segments"] == 1

    @pytest.mark.parametrize("body", [{}, {"hold": 1}, {"hold": None}, {"hold": True, "m": 3}, {"held": True}])
    def test_mistakes_are_named(self, rest: Rest, body: Any) -> None:
        assert patch(rest, body, 422)["errors"][0]["pointer"] in ("/hold", "/m", "/held")

    def test_what_is_no_json_or_no_object(self, rest: Rest) -> None:
        assert (
            rest.http.patch(INDEX, content=b"{", headers={"content-type": "application/json"}).json()["code"]
            == "malformed"
        )
        assert patch(rest, [], 422)["code"] == "invalid"


class TestRebuild:
    def test_it_is_a_job_with_a_result(self, rest: Rest) -> None:
        job = rest.post(f"{INDEX}/rebuild", None, 202)
        assert (job["type"], job["queue"], job["dataset"]) == ("index.rebuild", "long", "books")
        rest.work()
        done = rest.get(f"jobs/{job['id']}")
        assert (done["state"], done["result"], done["progress"]) == ("succeeded", {"rows": 1200, "segments": 1}, 1.0)

    def test_one_key_makes_one_job(self, rest: Rest) -> None:
        headers = {"Idempotency-Key": "again"}
        first, second = (rest.http.post(f"{INDEX}/rebuild", headers=headers).json()["id"] for _ in range(2))
        assert first == second


class TestRecall:
    def test_it_is_measured_by_a_job_and_shown(self, rest: Rest) -> None:
        assert rest.get("datasets/books")["index"]["recall"]["exact"] is True
        rest.post(f"{INDEX}/rebuild", None, 202)
        rest.work()
        assert rest.get("datasets/books")["index"]["recall"] is None
        assert 'gristmill_search_recall{dataset="books"' not in rest.http.get("http://localhost/metrics").text
        assert RecallKeeper(rest.gristmill.database, samples=20).run() == 1
        rest.work()
        (job,) = rest.get("jobs", type="index.recall")["jobs"]
        assert (job["state"], job["priority"], job["queue"]) == ("succeeded", 0, "long")
        recall = rest.get("datasets/books")["index"]["recall"]
        assert 0.9 < recall["value"] <= 1
        assert recall["samples"] > 10
        assert recall["measured_at"].endswith("Z")
        assert recall["target"] == 0.98
        text = rest.http.get("http://localhost/metrics").text
        line = next(line for line in text.splitlines() if line.startswith("gristmill_search_recall{"))
        assert line.startswith('gristmill_search_recall{dataset="books",k="10"} ')
        assert float(line.split()[-1]) == pytest.approx(recall["value"], abs=1e-4)
        assert 'gristmill_search_recall_target{dataset="books",k="10"} 0.98' in text

    def test_it_is_learnt_when_it_is_asked_for_and_searches_go_by_it(self, rest: Rest) -> None:
        rest.post(f"{INDEX}/rebuild", None, 202)
        rest.work()
        assert rest.get(INDEX)["proposal"].startswith("Nothing was learnt")
        assert rest.post("datasets/books/search", {"text": "volume"})["recall_known_from"] == "assumed"
        job = rest.post(f"{INDEX}/tune", None, 202)
        assert (job["type"], job["queue"]) == ("index.recall", "long")
        rest.work()
        result = rest.get(f"jobs/{job['id']}")["result"]
        assert (result["k"], result["learnt"]) == (10, 1)
        report = rest.get(INDEX)
        (segment,) = report["segments"]
        curve = segment["curve"]
        assert (curve["known_from"], curve["queries"], curve["k"]) == ("records", result["samples"], [10, 30, 100, 300])
        assert [len(row) for row in curve["recall"]] == [len(curve["ef"])] * 4
        assert [effort["recall_target"] for effort in report["efforts"]] == [0.9, 0.95, 0.98, 0.99, 0.999]
        efs = [effort["ef"] for effort in report["efforts"]]
        assert efs == sorted(efs)
        assert report["proposal"] is None or "rebuild" in report["proposal"]

    def test_what_cannot_be_tuned(self, rest: Rest) -> None:
        assert rest.post("datasets/nothing/index/tune", None, 404)["code"] == "unknown_dataset"
