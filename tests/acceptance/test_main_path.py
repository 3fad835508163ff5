"""One story for each call of the REST interface, from the request to the rows, on real processes."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.rest import Json, Rest, new_name
from tests.support.system import eventually

READINGS: Json = {
    "fields": [
        {"name": "sensor", "type": "text", "required": True, "max_length": 64},
        {"name": "at", "type": "timestamp", "required": True},
        {"name": "value", "type": "float", "minimum": -90, "maximum": 60, "filterable": True},
    ],
    "key": ["sensor", "at"],
    "time_field": "at",
}
NOTES: Json = {
    "fields": [
        {"name": "id", "type": "text", "required": True},
        {"name": "note", "type": "text"},
        {"name": "year", "type": "integer"},
    ],
    "key": ["id"],
    "embedding": {"from": ["note"], "embedder": "static"},
}
ANIMALS = [
    {"id": "cat", "note": "a small cat that purrs", "year": 2020},
    {"id": "dog", "note": "a loyal dog that barks", "year": 2021},
    {"id": "car", "note": "an engine, four wheels and a steering wheel", "year": 2020},
    {"id": "sky", "note": None, "year": 2020},
]
START = datetime(2026, 1, 1, tzinfo=UTC)


def moment(minutes: int) -> str:
    return (START + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


@pytest.fixture(scope="module")
def readings(rest: Rest) -> str:
    """60 readings of two sensors, one a minute."""
    name = rest.create(READINGS)
    rest.store(name, [{"sensor": f"s{n % 2}", "at": moment(n), "value": n / 2 if n % 10 else None} for n in range(60)])
    return name


@pytest.fixture(scope="module")
def notes(rest: Rest) -> str:
    name = rest.create(NOTES)
    rest.store(name, ANIMALS)
    return name


class TestDatasets:
    def test_create_show_list_change_and_drop(self, rest: Rest) -> None:
        name = new_name("story")
        answer = rest.http.post("/api/v1/datasets", json={**READINGS, "name": name})
        assert (answer.status_code, answer.json()["type"]) == (202, "dataset.create")
        assert answer.headers["location"] == answer.json()["links"]["self"]
        # The contract is visible at once, whether the table is there yet or not.
        shown = rest.http.get(f"/api/v1/datasets/{name}").json()
        assert (shown["name"], shown["version"], shown["contract"]["key"]) == (name, 1, ["sensor", "at"])
        rest.succeeded(answer)
        rest.store(name, [{"sensor": "a", "at": moment(0), "value": 1}])
        shown = rest.http.get(f"/api/v1/datasets/{name}").json()
        assert (shown["state"], shown["rows"], shown["index"]) == ("ready", 1, None)
        assert shown["sizes"]["total_bytes"] > 0
        listed = rest.http.get("/api/v1/datasets", params={"page_size": 200}).json()["datasets"]
        assert name in [dataset["name"] for dataset in listed]

        change = {
            "add_fields": [{"name": "unit", "type": "text"}],
            "alter_fields": [{"name": "value", "maximum": 100}],
        }
        rest.succeeded(rest.http.patch(f"/api/v1/datasets/{name}", json=change))
        rest.store(name, [{"sensor": "b", "at": moment(1), "value": 99, "unit": "K"}])
        assert [row["unit"] for row in rest.rows(name)] == [None, "K"]
        assert rest.http.get(f"/api/v1/datasets/{name}").json()["version"] == 2

        answer = rest.http.delete(f"/api/v1/datasets/{name}", params={"wait": 30, "confirm": name})
        assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
        assert rest.http.get(f"/api/v1/datasets/{name}").status_code == 404
        assert not rest.system.query("SELECT 1 FROM pg_tables WHERE schemaname = 'data' AND tablename = %s", (name,))

    def test_the_list_is_paged_by_name(self, rest: Rest) -> None:
        names = sorted(rest.create({"fields": NOTES["fields"]}, new_name("paged"), wait=0) for _ in range(3))
        found: list[str] = []
        token = None
        while True:
            query = {"page_size": 2, **({"page_token": token} if token else {})}
            page = rest.http.get("/api/v1/datasets", params=query).json()
            found += [dataset["name"] for dataset in page["datasets"]]
            token = page["next_page_token"]
            if token is None:
                break
        assert found == sorted(set(found))
        assert set(names) <= set(found)


class TestSubmit:
    def test_a_batch_is_accepted_polled_and_found(self, rest: Rest) -> None:
        name = rest.create(READINGS)
        answer = rest.post(name, [{"sensor": "a", "at": "2026-01-01T01:00:00+01:00", "value": 1}])
        job = answer.json()
        assert (answer.status_code, job["type"], job["dataset"]) == (202, "records.ingest", name)
        assert job["done"] is (job["state"] == "succeeded")
        job = eventually(lambda: (now := rest.http.get(job["links"]["self"]).json())["done"] and now, "the job is done")
        assert (job["state"], job["progress"], job["error"]) == ("succeeded", 1.0, None)
        assert job["record_counts"] == {"total": 1, "succeeded": 1, "rejected": 0, "superseded": 0, "dropped": 0}
        assert job["created_at"] <= job["started_at"] <= job["finished_at"]
        found = rest.http.get(rest.record(name, ["a", moment(0)]))
        assert found.json() == {"sensor": "a", "at": moment(0), "value": 1.0}

    @pytest.mark.parametrize("how", [{"params": {"wait": 30}}, {"headers": {"prefer": "respond-async, wait=30"}}])
    def test_a_write_may_wait_for_its_end(self, rest: Rest, readings: str, how: Json) -> None:
        answer = rest.post(readings, [{"sensor": "s0", "at": moment(0), "value": None}], **how)
        assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
        assert answer.headers.get("preference-applied") == ("wait=30" if "headers" in how else None)

    def test_of_duplicates_in_a_batch_the_last_wins_and_the_others_are_counted(self, rest: Rest) -> None:
        name = rest.create(NOTES)
        records = [{"id": "a", "year": 1}, {"id": "b", "year": 2}, {"id": "a", "year": 3}, {"id": "a", "year": 4}]
        job = rest.store(name, records)
        assert job["record_counts"] == {"total": 4, "succeeded": 2, "rejected": 0, "superseded": 2, "dropped": 0}
        assert [(row["id"], row["year"]) for row in rest.rows(name)] == [("a", 4), ("b", 2)]

    def test_validate_stores_nothing(self, rest: Rest, notes: str) -> None:
        answer = rest.http.post(f"/api/v1/datasets/{notes}/validate", json=[{"id": "new"}])
        assert (answer.status_code, answer.json()["records"]) == (200, 1)
        assert rest.http.get(rest.record(notes, "new")).status_code == 404

    @pytest.mark.promise(2)
    def test_on_conflict_fail_refuses_what_is_there(self, rest: Rest, notes: str) -> None:
        answer = rest.post(notes, [{"id": "new"}, {"id": "cat"}], params={"on_conflict": "fail"})
        assert (answer.status_code, answer.json()["code"], answer.json()["key"]) == (409, "key_exists", "cat")
        assert rest.http.get(rest.record(notes, "new")).status_code == 404


class TestReads:
    def test_the_latest(self, rest: Rest, readings: str) -> None:
        records = rest.http.get(f"/api/v1/datasets/{readings}/latest", params={"n": 3}).json()["records"]
        assert [record["at"] for record in records] == [moment(59), moment(58), moment(57)]

    def test_a_window_of_time_has_both_ends(self, rest: Rest, readings: str) -> None:
        assert [row["at"] for row in rest.rows(readings, start=moment(10), end=moment(12))] == [
            moment(10),
            moment(11),
            moment(12),
        ]

    @pytest.mark.parametrize(
        ("where", "count"),
        [
            ({"sensor": "s1"}, 30),
            ({"value": {"null": True}}, 6),
            ({"value": {"ge": 1, "lt": 3}}, 4),
            ({"sensor": {"prefix": "s"}, "not": {"sensor": "s1"}}, 30),
            ({"or": [{"at": {"lt": moment(1)}}, {"value": {"in": [0.5, 1]}}]}, 3),
            ({"at": {"between": [moment(5), moment(6)]}}, 2),
            ({}, 60),
        ],
    )
    def test_a_filter(self, rest: Rest, readings: str, where: Json, count: int) -> None:
        assert len(rest.rows(readings, where=json.dumps(where))) == count

    @pytest.mark.parametrize("order", ["sensor,-at", "-value", "value,sensor", "-at"])
    def test_pages_repeat_and_skip_nothing(self, rest: Rest, readings: str, order: str) -> None:
        whole = rest.rows(readings, order=order)
        paged = rest.rows(readings, order=order, page_size=7)
        assert paged == whole
        assert len({(row["sensor"], row["at"]) for row in paged}) == 60
        if order == "-value":
            values = [row["value"] for row in whole]
            assert values[:6] == [None] * 6
            assert values[6:] == sorted(values[6:], reverse=True)

    def test_a_token_serves_the_query_that_made_it(self, rest: Rest, readings: str) -> None:
        url = f"/api/v1/datasets/{readings}/records"
        token = rest.http.get(url, params={"page_size": 5}).json()["next_page_token"]
        answer = rest.http.get(url, params={"page_size": 5, "page_token": token, "order": "-at"})
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


@pytest.mark.promise(5)
class TestSearch:
    def search(self, rest: Rest, name: str, **body: object) -> Json:
        answer = rest.http.post(f"/api/v1/datasets/{name}/search", json=body)
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found

    def test_by_text(self, rest: Rest, notes: str) -> None:
        found = self.search(rest, notes, text="kitten", k=2)
        assert found["hits"][0]["key"] == "cat"
        assert (len(found["hits"]), found["complete"], found["plan"]) == (2, True, "exact")
        assert found["hits"][0]["distance"] < found["hits"][1]["distance"]
        assert found["hits"][0]["record"] == ANIMALS[0]

    def test_by_text_with_a_filter_and_fewer_than_k(self, rest: Rest, notes: str) -> None:
        found = self.search(rest, notes, text="kitten", where={"year": 2020})
        assert ([hit["key"] for hit in found["hits"]], found["complete"]) == (["cat", "car"], True)

    def test_like_a_record_which_is_not_among_the_hits(self, rest: Rest, notes: str) -> None:
        assert [hit["key"] for hit in self.search(rest, notes, like="cat")["hits"]] == ["dog", "car"]

    def test_by_vector_with_the_stored_one_shown(self, rest: Rest, notes: str) -> None:
        stored = rest.http.get(rest.record(notes, "dog"), params={"include": "embedding"}).json()["_embedding"]
        found = self.search(rest, notes, vector=stored, k=1, include=["embedding"])
        assert found["hits"][0]["key"] == "dog"
        assert found["hits"][0]["distance"] == pytest.approx(0, abs=1e-5)
        assert found["hits"][0]["record"]["_embedding"] == stored

    def test_a_record_is_found_as_soon_as_its_job_has_succeeded(self, rest: Rest, notes: str) -> None:
        for number in range(5):
            rest.store(notes, [{"id": "fish", "note": f"a fish that swims in pond number {number}", "year": 2022}])
            hits = self.search(rest, notes, text=f"fish pond number {number}", where={"year": 2022})["hits"]
            assert [hit["record"]["note"][-1] for hit in hits] == [str(number)]
        rest.succeeded(rest.http.delete(rest.record(notes, "fish")))


class TestChanges:
    def test_patch_and_delete_one_record(self, rest: Rest) -> None:
        name = rest.create(NOTES)
        rest.store(name, ANIMALS)
        rest.succeeded(rest.http.patch(rest.record(name, "cat"), json={"note": "it flies to the moon", "year": None}))
        assert rest.http.get(rest.record(name, "cat")).json() == {
            "id": "cat",
            "note": "it flies to the moon",
            "year": None,
        }
        # The vector is made anew from what it is made of.
        found = rest.http.post(f"/api/v1/datasets/{name}/search", json={"text": "moon flight", "k": 1}).json()
        assert found["hits"][0]["key"] == "cat"
        job = rest.succeeded(rest.http.delete(rest.record(name, "cat")))
        assert job["result"] == {"deleted": 1}
        assert rest.http.get(rest.record(name, "cat")).status_code == 404
        assert rest.http.delete(rest.record(name, "cat")).status_code == 404

    def test_delete_by_filter(self, rest: Rest) -> None:
        name = rest.create(NOTES)
        rest.store(name, ANIMALS)
        job = rest.succeeded(rest.http.post(f"/api/v1/datasets/{name}/records/delete", json={"where": {"year": 2020}}))
        assert job["result"] == {"deleted": 3}
        assert [row["id"] for row in rest.rows(name)] == ["dog"]

    def test_an_awkward_key_is_found_by_its_encoded_form(self, rest: Rest) -> None:
        name = rest.create(NOTES)
        keys = ["a/b", "..", "%2f", "ü?#", " ", "records/delete", '["x"]']
        rest.store(name, [{"id": key} for key in keys])
        for key in keys:
            if key != "..":  # Every client resolves this one away.
                assert rest.http.get(rest.record(name, key)).json()["id"] == key, key


@pytest.mark.promise(2)
class TestIdempotency:
    def test_the_same_request_twice_is_one_job(self, rest: Rest, readings: str) -> None:
        headers = {"idempotency-key": new_name("key")}
        record = [{"sensor": "s0", "at": moment(0), "value": None}]
        first = rest.post(readings, record, headers=headers)
        again = rest.post(readings, record, headers=headers, params={"wait": 30})
        assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
        other = rest.post(readings, [{"sensor": "s0", "at": moment(0), "value": 1}], headers=headers)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
        assert other.json()["job"] == first.json()["id"]

    def test_twenty_at_once_are_one_job(self, rest: Rest) -> None:
        name = rest.create({"fields": NOTES["fields"]})  # Without a key a second job would be seen as more rows.
        headers = {"idempotency-key": new_name("key")}
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: rest.post(name, [{"id": "a"}], headers=headers), range(20)))
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["id"] for answer in answers}) == 1
        rest.succeeded(answers[0])
        assert len(rest.rows(name)) == 1

    def test_changes_of_datasets_are_covered_too(self, rest: Rest) -> None:
        name, headers = new_name(), {"idempotency-key": new_name("key")}
        answers = [rest.http.post("/api/v1/datasets", json={**NOTES, "name": name}, headers=headers) for _ in range(2)]
        assert answers[0].json()["id"] == answers[1].json()["id"]


class TestJobs:
    def test_labels_priority_and_who_asked_are_shown_and_searched(self, rest: Rest, readings: str) -> None:
        label = new_name("run")
        query = [("label", f"run={label}"), ("label", "team=a"), ("priority", "9")]
        records = [{"sensor": "s0", "at": moment(0), "value": None}]
        jobs = [
            rest.finished(rest.http.post(f"/api/v1/datasets/{readings}/records", json=records, params=query))
            for _ in range(5)
        ]
        assert jobs[0]["labels"] == {"run": label, "team": "a"}
        assert (jobs[0]["priority"], jobs[0]["submitted_by"]) == (9, "local")
        newest_first = [job["id"] for job in reversed(jobs)]
        filters = {"label": f"run={label}", "type": "records.ingest", "dataset": readings, "state": "succeeded"}
        assert self.listed(rest, **filters) == newest_first
        assert self.listed(rest, **filters, page_size=2) == newest_first
        assert self.listed(rest, **{**filters, "state": "failed"}) == []
        assert self.listed(rest, **filters, created_after=jobs[3]["created_at"]) == newest_first[:1]

    def listed(self, rest: Rest, **query: object) -> list[str]:
        found: list[str] = []
        token = None
        while True:
            page = rest.http.get("/api/v1/jobs", params={**query, **({"page_token": token} if token else {})})
            assert page.status_code == 200, page.text
            found += [job["id"] for job in page.json()["jobs"]]
            token = page.json()["next_page_token"]
            if token is None:
                return found

    def test_a_job_put_off_runs_when_its_time_has_come(self, rest: Rest, notes: str) -> None:
        due = datetime.now(UTC) + timedelta(seconds=3)
        answer = rest.post(notes, [{"id": "later", "year": 1}], params={"run_at": due.isoformat()})
        assert (answer.status_code, answer.json()["state"]) == (202, "scheduled")
        job = rest.succeeded(answer)
        assert datetime.fromisoformat(job["started_at"]) >= due
        rest.succeeded(rest.http.delete(rest.record(notes, "later")))

    def test_a_time_in_the_past_is_now(self, rest: Rest, notes: str) -> None:
        answer = rest.post(notes, [ANIMALS[0]], params={"run_at": "0001-01-01T00:00:00Z", "wait": 30})
        assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
        assert answer.json()["run_at"] == answer.json()["created_at"]

    def test_a_job_that_has_not_begun_is_cancelled_for_good(self, rest: Rest, notes: str) -> None:
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        job = rest.post(notes, [{"id": "never"}], params={"run_at": tomorrow}).json()
        answer = rest.http.post(job["links"]["cancel"])
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
        assert "cancelled at the request of local" in answer.json()["error"]["detail"]
        for call in ("cancel", "retry"):
            again = rest.http.post(job["links"][call])
            code = "not_cancellable" if call == "cancel" else "not_retryable"
            assert (again.status_code, again.json()["code"], again.json()["state"]) == (409, code, "cancelled")
        assert rest.http.get(rest.record(notes, "never")).status_code == 404

    def test_a_finished_job_can_be_neither_cancelled_nor_retried(self, rest: Rest, notes: str) -> None:
        job = rest.store(notes, [ANIMALS[0]])
        assert rest.http.post(job["links"]["cancel"]).json()["code"] == "not_cancellable"
        assert rest.http.post(job["links"]["retry"]).json()["code"] == "not_retryable"

    def test_a_failed_job_is_a_200_with_its_problem(self, rest: Rest, notes: str) -> None:
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        unfinished = rest.post(notes, [{"id": "never"}], params={"run_at": tomorrow}).json()
        # While a job is unfinished only the order of jobs can tell whether there is such a record.
        answer = rest.http.patch(rest.record(notes, "nobody"), json={"year": 1}, params={"wait": 30})
        assert (answer.status_code, answer.json()["state"]) == (200, "failed")
        error = answer.json()["error"]
        assert (error["code"], error["status"], error["chunk"]) == ("unknown_record", 404, 0)
        assert rest.http.post(unfinished["links"]["cancel"]).status_code == 200
        assert rest.http.patch(rest.record(notes, "nobody"), json={"year": 1}).status_code == 404

    def test_polling_with_wait_answers_when_the_job_ends(self, rest: Rest, notes: str) -> None:
        due = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
        job = rest.post(notes, [ANIMALS[0]], params={"run_at": due}).json()
        started = time.monotonic()
        answer = rest.http.get(job["links"]["self"], params={"wait": 30})
        assert answer.json()["done"]
        assert time.monotonic() - started < 25
