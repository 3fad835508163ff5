"""Datasets are created, changed and dropped while records for them are on their way."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from tests.support.rest import Json, Rest, new_name
from tests.support.system import System, eventually

pytestmark = pytest.mark.promise(3)

CONTRACT: Json = {
    "fields": [
        {"name": "k", "type": "integer", "required": True},
        {"name": "life", "type": "integer"},
        {"name": "small", "type": "integer", "maximum": 10},
    ],
    "key": ["k"],
}


@pytest.fixture
def paused(system: System) -> Iterator[System]:
    """The system with its dispatcher asleep: what is submitted stays queued until it is woken."""
    system.pause("dispatcher")
    yield system
    system.resume("dispatcher")


def create(rest: Rest, name: str, contract: Json = CONTRACT) -> httpx.Response:
    answer = rest.http.post("/api/v1/datasets", json={**contract, "name": name})
    assert answer.status_code == 202, answer.text
    return answer


def reason(job: Json) -> str:
    return f"{job['state']}: {(job['error'] or {}).get('detail')}"


class TestCreate:
    def test_records_posted_straight_after_the_202_wait_for_the_table(self, rest: Rest, paused: System) -> None:
        name = new_name("flight")
        created = create(rest, name)
        posts = [rest.post(name, [{"k": n}]) for n in range(5)]
        assert rest.rows(name) == []
        assert rest.http.get(f"/api/v1/datasets/{name}").json()["state"] == "creating"
        paused.resume("dispatcher")
        for answer in (created, *posts):
            rest.succeeded(answer)
        assert [row["k"] for row in rest.rows(name)] == [0, 1, 2, 3, 4]

    def test_many_datasets_at_once_each_with_its_first_records(self, rest: Rest) -> None:
        def one(_: int) -> list[int]:
            name = new_name("burst")
            create(rest, name)
            rest.succeeded(rest.post(name, [{"k": 1}, {"k": 2}]))
            return [row["k"] for row in rest.rows(name)]

        with ThreadPoolExecutor(6) as pool:
            assert list(pool.map(one, range(12))) == [[1, 2]] * 12

    def test_records_of_a_create_that_fails_fail_with_its_reason(self, rest: Rest, paused: System) -> None:
        name = new_name("taken")
        # A table that somebody made by hand stands in the way: only the job can find out.
        paused.query(f"CREATE TABLE data.{name} (own int)")
        created = create(rest, name)
        posts = [rest.post(name, [{"k": 1}]), rest.http.patch(rest.record(name, "1"), json={"life": 1})]
        changed = rest.http.patch(f"/api/v1/datasets/{name}", json={"add_fields": [{"name": "x", "type": "text"}]})
        paused.resume("dispatcher")
        failed = rest.finished(created)
        assert (failed["state"], failed["error"]["code"]) == ("failed", "table_exists")
        for answer in (*posts, changed):
            job = rest.finished(answer)
            assert (job["state"], job["error"]["code"]) == ("failed", "dataset_failed"), job
            assert failed["error"]["detail"] in job["error"]["detail"]
        # What comes later is told at once, and the table that was there is untouched.
        refused = rest.post(name, [{"k": 1}])
        assert (refused.status_code, refused.json()["code"]) == (409, "dataset_failed")
        assert failed["error"]["detail"] in refused.json()["detail"]
        assert rest.http.get(f"/api/v1/datasets/{name}").json()["state"] == "failed"
        assert paused.query(f"SELECT * FROM data.{name}") == []
        # With the obstacle gone the name serves again.
        paused.query(f"DROP TABLE data.{name}")
        rest.succeeded(create(rest, name))
        rest.store(name, [{"k": 7}])
        assert [row["k"] for row in rest.rows(name)] == [7]

    def test_a_create_that_is_cancelled_takes_its_records_with_it(self, rest: Rest, paused: System) -> None:
        name = new_name("cancelled")
        created = create(rest, name)
        post = rest.post(name, [{"k": 1}])
        assert rest.http.post(created.json()["links"]["cancel"]).json()["state"] == "cancelled"
        paused.resume("dispatcher")
        job = rest.finished(post)
        assert (job["state"], job["error"]["code"]) == ("failed", "dataset_failed"), job
        rest.succeeded(create(rest, name))


class TestDrop:
    def test_records_not_applied_before_a_drop_are_cancelled_with_the_reason(self, rest: Rest, paused: System) -> None:
        name = new_name("dropped")
        paused.resume("dispatcher")
        rest.succeeded(create(rest, name))
        rest.store(name, [{"k": 0}])
        paused.pause("dispatcher")
        posts = [rest.post(name, [{"k": n}]) for n in range(3)]
        exclusive = rest.post(name, [{"k": 9}], params={"on_conflict": "fail"})
        dropped = rest.http.delete(f"/api/v1/datasets/{name}?confirm={name}")
        # Out of sight at once, though the drop has not run.
        assert rest.http.get(f"/api/v1/datasets/{name}").status_code == 404
        assert rest.post(name, [{"k": 4}]).json()["code"] == "unknown_dataset"
        paused.resume("dispatcher")
        assert rest.succeeded(dropped)["type"] == "dataset.drop"
        for answer in (*posts, exclusive):
            job = rest.finished(answer)
            assert reason(job) == "cancelled: cancelled: dataset dropped"
            assert job["record_counts"]["succeeded"] == 0
        assert not paused.query("SELECT 1 FROM pg_tables WHERE schemaname = 'data' AND tablename = %s", (name,))
        ids = [answer.json()["id"] for answer in posts]
        assert not paused.query("SELECT 1 FROM gristmill.payloads WHERE job_id = ANY(%s::uuid[])", (ids,))

    def test_a_second_drop_finds_nothing(self, rest: Rest) -> None:
        name = rest.create(CONTRACT)
        first = rest.http.delete(f"/api/v1/datasets/{name}?confirm={name}")
        assert rest.http.delete(f"/api/v1/datasets/{name}?confirm={name}").json()["code"] == "unknown_dataset"
        rest.succeeded(first)


class TestAgain:
    def test_create_drop_create_under_one_name_with_records_in_flight(self, rest: Rest, paused: System) -> None:
        name = new_name("lives")
        jobs: dict[str, list[Json]] = {}

        def submit(life: int) -> None:
            posts = [rest.post(name, [{"k": k, "life": life} for k in range(n, n + 3)]) for n in (0, 2, 4)]
            jobs[f"life {life}"] = [answer.json() for answer in posts]

        created = [create(rest, name)]
        submit(1)
        dropped = [rest.http.delete(f"/api/v1/datasets/{name}?confirm={name}")]
        # The same name with another contract: what was submitted for the first must not get into it.
        other = {**CONTRACT, "fields": [{**field, "type": "integer"} for field in CONTRACT["fields"][:2]]}
        created.append(create(rest, name, other))
        submit(2)
        dropped.append(rest.http.delete(f"/api/v1/datasets/{name}?confirm={name}"))
        created.append(create(rest, name))
        submit(3)
        paused.resume("dispatcher")
        # The drop came before the create had run, so there was nothing to make any more.
        assert [reason(rest.finished(answer)) for answer in created[:2]] == [
            "cancelled: cancelled: dataset dropped"
        ] * 2
        for answer in (*dropped, created[2]):
            rest.succeeded(answer)
        for life, expected in (("life 1", "cancelled"), ("life 2", "cancelled"), ("life 3", "succeeded")):
            for job in jobs[life]:
                found = rest.http.get(job["links"]["self"], params={"wait": 30}).json()
                assert found["state"] == expected, (life, found)
        assert rest.rows(name) == [{"k": k, "life": 3, "small": None} for k in range(7)]

    def test_lives_follow_each_other_while_everything_runs(self, rest: Rest) -> None:
        name = new_name("running")
        numbers = itertools.count()
        stop = False
        answers: list[httpx.Response] = []

        def ingest() -> None:
            while not stop:
                answer = rest.post(name, [{"k": next(numbers)}])
                # Between two lives there is no such dataset; nothing else may be said.
                assert answer.status_code in (202, 404), answer.text
                if answer.status_code == 202:
                    answers.append(answer)

        with ThreadPoolExecutor(3) as pool:
            futures = [pool.submit(ingest) for _ in range(3)]
            changes: list[Any] = []
            for _ in range(4):
                changes.append(create(rest, name))
                eventually(lambda seen=len(answers): len(answers) > seen + 5, "records are accepted", 60)
                changes.append(rest.http.delete(f"/api/v1/datasets/{name}?confirm={name}"))
            changes.append(create(rest, name))
            seen = len(answers)
            eventually(lambda: len(answers) > seen + 5, "records are accepted", 60)
            stop = True
            for future in futures:
                future.result()
        last = rest.succeeded(changes[-1])
        for answer in changes:
            assert rest.finished(answer)["state"] in ("succeeded", "cancelled")
        survivors = []
        for answer in answers:
            job = rest.finished(answer)
            assert reason(job) in ("succeeded: None", "cancelled: cancelled: dataset dropped"), job
            if job["state"] == "succeeded" and job["created_at"] >= last["created_at"]:
                survivors.append(job["record_counts"]["succeeded"])
        rows = rest.rows(name)
        assert len(rows) == len(survivors), "the last life has its own records, all of them and no others"


class TestAlter:
    def test_records_before_and_after_a_change_fit_the_contract_of_their_time(self, rest: Rest, paused: System) -> None:
        name = new_name("altered")
        created = create(rest, name)
        before = rest.post(name, [{"k": 1, "small": 10}, {"k": 3, "small": 1}])
        assert rest.post(name, [{"k": 2, "small": 11}]).status_code == 422
        change = {
            "add_fields": [{"name": "note", "type": "text"}],
            "alter_fields": [{"name": "small", "maximum": 100}],
        }
        altered = rest.http.patch(f"/api/v1/datasets/{name}", json=change)
        assert altered.status_code == 202
        # The new contract counts as soon as the change was accepted.
        shown = rest.http.get(f"/api/v1/datasets/{name}").json()
        assert (shown["version"], shown["change_pending"]) == (2, True)
        after = rest.post(name, [{"k": 2, "small": 11, "note": "new"}, {"k": 3, "note": "replaced"}])
        patched = rest.http.patch(rest.record(name, "1"), json={"note": "patched"})
        paused.resume("dispatcher")
        for answer in (created, before, altered, after, patched):
            rest.succeeded(answer)
        assert rest.rows(name) == [
            {"k": 1, "life": None, "small": 10, "note": "patched"},
            {"k": 2, "life": None, "small": 11, "note": "new"},
            {"k": 3, "life": None, "small": None, "note": "replaced"},
        ]
        assert not rest.http.get(f"/api/v1/datasets/{name}").json()["change_pending"]

    def test_changes_of_the_contract_amid_a_stream_of_records(self, rest: Rest) -> None:
        name = rest.create(CONTRACT)
        answers = []
        for version in range(6):
            answers += [rest.post(name, [{"k": 100 * version + n, "life": version}]) for n in range(5)]
            change = {"add_fields": [{"name": f"extra{version}", "type": "text"}]}
            answers.append(rest.http.patch(f"/api/v1/datasets/{name}", json=change))
            answers.append(rest.post(name, [{"k": 100 * version + 50, f"extra{version}": "there"}]))
        for answer in answers:
            rest.succeeded(answer)
        rows = {row["k"]: row for row in rest.rows(name)}
        assert len(rows) == 36
        for version in range(6):
            assert rows[100 * version + 50][f"extra{version}"] == "there"
            assert [rows[100 * version + n]["life"] for n in range(5)] == [version] * 5

    def test_a_change_that_fails_fails_the_records_that_were_checked_by_it(self, rest: Rest, paused: System) -> None:
        name = new_name("broken")
        paused.resume("dispatcher")
        rest.succeeded(create(rest, name))
        paused.pause("dispatcher")
        # Somebody added the column by hand: the job cannot.
        paused.query(f"ALTER TABLE data.{name} ADD COLUMN note int")
        altered = rest.http.patch(f"/api/v1/datasets/{name}", json={"add_fields": [{"name": "note", "type": "text"}]})
        after = rest.post(name, [{"k": 1, "note": "x"}])
        paused.resume("dispatcher")
        assert rest.finished(altered)["state"] == "failed"
        job = rest.finished(after)
        assert (job["state"], job["error"]["code"]) == ("failed", "contract_change_failed"), job
        # The contract is what it was, and records that fit it are taken.
        assert rest.http.get(f"/api/v1/datasets/{name}").json()["version"] == 1
        rest.store(name, [{"k": 2}])
        assert [row["k"] for row in rest.rows(name)] == [2]
