"""Truncate, rename and copy of datasets: what becomes of rows, indexes, jobs that wait, and names."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg2
import pytest
from tests.support.in_process import InProcess
from tests.support.system import eventually

from gristmill.datasets.errors import IndexBuildInterrupted
from gristmill.jobs.maintenance.schedules import promote_scheduled
from gristmill.jobs.repository.dispatch import mark_sent
from gristmill.search.index.builder import IndexBuilder
from gristmill.search.index.settings import BuildSettings

URL = "/api/v1/datasets"
THINGS: dict[str, Any] = {
    "title": "Things",
    "fields": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "t", "type": "text", "filterable": True},
        {"name": "at", "type": "timestamp"},
    ],
    "key": ["id"],
    "time_field": "at",
    "embedding": {"dimensions": 2},
    "text_search": {"from": ["t"]},
}
PLAIN: dict[str, Any] = {"fields": THINGS["fields"]}


def new_name() -> str:
    return f"n_{uuid.uuid4().hex[:8]}"


def records(*ids: int, **members: Any) -> list[dict[str, Any]]:
    return [{"id": number, "t": f"t{number}", "_embedding": [1.0, number], **members} for number in ids]


def operate(app: InProcess, name: str, what: str, body: Any = None, **options: Any) -> Any:
    return app.http.post(f"{URL}/{name}/{what}", json=body, **options)


def work(app: InProcess) -> None:
    """Run everything that is due in both queues."""
    while True:
        app.work()
        with app.gristmill.database.transaction() as connection:
            messages = mark_sent(connection, "long", 4)
        if not messages:
            return
        for message in messages:
            app.executor.run(message.job_id, message.number, message.dispatch)


def job(app: InProcess, answer: Any) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text
    work(app)
    found: dict[str, Any] = app.http.get(answer.json()["links"]["self"]).json()
    assert found["done"], found
    return found


def succeeded(app: InProcess, answer: Any) -> dict[str, Any]:
    found = job(app, answer)
    assert found["state"] == "succeeded", found
    return found


def ids(app: InProcess, name: str) -> list[int]:
    return [row["id"] for row in app.rows(name)]


def query(app: InProcess, sql: str, *values: Any) -> list[Any]:
    with app.gristmill.database.autocommit() as connection:
        return list(connection.exec_driver_sql(sql, values))


def relations(app: InProcess, prefix: str) -> list[str]:
    sql = (
        "SELECT relname FROM pg_class WHERE relnamespace = 'data'::regnamespace AND starts_with(relname, %s) ORDER BY 1"
    )
    return [row[0].removeprefix(prefix) for row in query(app, sql, prefix)]


def add_segment(app: InProcess, name: str, rows: int) -> None:
    """Put a segment with an index into the catalogue, as a build would."""
    sql = """
        INSERT INTO gristmill.segments (dataset_id, lo, hi, index_name, state)
        SELECT id, 1, %s, %s, 'ready' FROM gristmill.datasets WHERE name = %s
    """
    with app.gristmill.database.transaction() as connection:
        connection.exec_driver_sql(sql, (rows + 1, f"{name}__seg1", name))
        connection.exec_driver_sql(
            f"CREATE INDEX {name}__seg1 ON data.{name} USING hnsw (_embedding vector_cosine_ops)"
            f" WHERE _id >= 1 AND _id < {rows + 1}"
        )


class TestTruncate:
    def test_all_that_was_submitted_before_goes_and_what_comes_after_stays(self, app: InProcess) -> None:
        name = app.dataset(THINGS)
        app.post(name, records(1, 2))
        truncate = operate(app, name, "truncate")
        app.post(name, records(2, 3))
        found = succeeded(app, truncate)
        assert (found["type"], found["result"]) == ("dataset.truncate", {"table": f"data.{name}"})
        assert ids(app, name) == [2, 3]

    def test_segments_and_counts_start_anew_and_rejects_stay(self, app: InProcess) -> None:
        name = app.dataset(THINGS)
        bad = [*records(1, 2), {"id": "x"}]
        brought = succeeded(app, app.post(name, bad, params={"on_error": "quarantine"}))
        add_segment(app, name, 2)
        assert app.http.get(f"{URL}/{name}").json()["index"]["sealed_rows"] >= 0
        succeeded(app, operate(app, name, "truncate"))
        body = app.http.get(f"{URL}/{name}").json()
        assert (body["rows"], body["index"]["segments"], body["index"]["tail_rows"]) == (0, 0, 0)
        assert not [index for index in relations(app, name) if "seg" in index]
        assert query(app, "SELECT count(*) FROM gristmill.segments")[0][0] == 0
        assert len(app.http.get(f"/api/v1/jobs/{brought['id']}/rejects").json()["rejects"]) == 1
        succeeded(app, app.post(name, records(7)))
        hits = app.http.post(f"{URL}/{name}/search", json={"vector": [1, 7], "k": 5}).json()["hits"]
        assert [hit["key"] for hit in hits] == [7]

    def test_a_table_in_use_is_waited_for_and_nothing_is_lost(self, app: InProcess) -> None:
        name = app.dataset(PLAIN)
        succeeded(app, app.post(name, [{"id": 1}]))
        with psycopg2.connect(app.gristmill.settings.database_url) as other, other.cursor() as cursor:
            cursor.execute(f"SELECT * FROM data.{name}")
            answer = operate(app, name, "truncate")
            work(app)
            waiting = app.http.get(answer.json()["links"]["self"]).json()
            assert waiting["done"] is False
            assert (
                query(app, "SELECT error ->> 'code' FROM gristmill.chunks WHERE job_id = %s", waiting["id"])[0][0]
                == "table_busy"
            )
        other.close()
        assert ids(app, name) == [1]
        query(app, "UPDATE gristmill.chunks SET run_at = now() WHERE job_id = %s RETURNING 1", waiting["id"])
        succeeded(app, answer)
        assert ids(app, name) == []

    def test_a_dataset_that_is_not_there_is_unknown(self, app: InProcess) -> None:
        assert operate(app, "nope", "truncate").json()["code"] == "unknown_dataset"


class TestRename:
    def test_rows_indexes_and_search_go_along_and_the_old_name_is_free(self, app: InProcess) -> None:
        old, new = app.dataset(THINGS), new_name()
        succeeded(app, app.post(old, records(1, 2)))
        add_segment(app, old, 2)
        before = app.http.get(f"{URL}/{old}").json()
        named = relations(app, old)
        found = succeeded(app, operate(app, old, "rename", {"name": new}))
        after = app.http.get(f"{URL}/{new}").json()
        assert found["result"] == {"name": new, "table": f"data.{new}", "etag": f'"{after["id"]}.2"'}
        assert (after["id"], after["version"], after["contract"]["name"]) == (before["id"], 2, new)
        assert after["links"]["records"] == f"{URL}/{new}/records"
        assert after["sizes"]["vector_index_bytes"] > 0
        assert (relations(app, new), relations(app, old)) == (named, [])
        assert app.http.get(f"{URL}/{old}").status_code == 404
        assert app.http.get(f"{URL}/{old}/records").status_code == 404
        assert app.post(old, records(3)).json()["code"] == "unknown_dataset"
        hits = app.http.post(f"{URL}/{new}/search", json={"vector": [1, 2], "k": 1}).json()["hits"]
        assert [hit["key"] for hit in hits] == [2]
        # Another dataset takes the old name, with a table and indexes of its own.
        assert app.http.post(URL, json={**THINGS, "name": old}).status_code == 202
        succeeded(app, app.post(old, records(9)))
        assert (ids(app, old), ids(app, new)) == ([9], [1, 2])
        succeeded(app, app.post(new, records(1, t="other")))
        assert [row["t"] for row in app.rows(new)] == ["other", "t2"]

    def test_jobs_that_wait_go_on_in_their_order_under_the_new_name(self, app: InProcess) -> None:
        old, new = app.dataset(PLAIN | {"key": ["id"]}), new_name()
        app.work()
        before = app.post(old, [{"id": 1}, {"id": 2}])
        rename = operate(app, old, "rename", {"name": new})
        assert app.http.get(f"{URL}/{new}").status_code == 404
        assert app.http.get(f"{URL}/{old}").json()["change_pending"] is True
        waiting = [
            app.post(old, [{"id": 1, "t": "after"}]),
            app.http.patch(app.key(old, "2"), json={"t": "patched"}),
            app.http.delete(app.key(old, "1")),
            operate(app, old, "truncate"),
            app.post(old, [{"id": 3}]),
        ]
        later = app.post(old, [{"id": 4}], params={"run_at": "2999-01-01T00:00:00Z"}).json()
        succeeded(app, rename)
        for answer in (before, *waiting):
            found = app.http.get(answer.json()["links"]["self"]).json()
            assert (found["state"], found["dataset"]) == ("succeeded", old if answer is before else new)
        assert ids(app, new) == [3]
        # What is scheduled names the dataset by its id, and is ordered among the jobs of its new name.
        scope = query(app, "SELECT scope, dataset FROM gristmill.jobs WHERE id = %s", later["id"])
        assert list(scope[0]) == [f"dataset:{new}", new]
        query(app, "UPDATE gristmill.jobs SET run_at = now() WHERE id = %s RETURNING 1", later["id"])
        query(app, "UPDATE gristmill.chunks SET run_at = now() WHERE job_id = %s RETURNING 1", later["id"])
        promote_scheduled(app.gristmill.database)
        work(app)
        assert ids(app, new) == [3, 4]

    def test_a_build_that_runs_is_interrupted_and_the_next_one_goes_by_the_new_name(self, app: InProcess) -> None:
        old, new = app.dataset(THINGS), new_name()
        succeeded(app, app.post(old, records(*range(300))))
        dataset_id = uuid.UUID(app.http.get(f"{URL}/{old}").json()["id"])
        settings = BuildSettings(memory_mb=64, workers=0, min_rows=100, check_every=0.05)
        builder = IndexBuilder(app.gristmill.database, settings)

        def build() -> Any:
            return builder.build(dataset_id, uuid.uuid4(), lambda: None, needed=100)

        # A snapshot keeps the build from its end, and does not lock the table.
        other = psycopg2.connect(app.gristmill.settings.database_url)
        other.set_session(isolation_level="REPEATABLE READ")
        with ThreadPoolExecutor(1) as pool, other.cursor() as cursor:
            cursor.execute("SELECT 1")
            building = pool.submit(build)
            invalid = """
                SELECT 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                WHERE NOT indisvalid AND starts_with(relname, %s)
            """
            eventually(lambda: query(app, invalid, old), "the index is being built")
            succeeded(app, operate(app, old, "rename", {"name": new}))
            with pytest.raises(IndexBuildInterrupted):
                building.result(30)
        other.close()
        build()
        body = app.http.get(f"{URL}/{new}").json()
        assert (body["index"]["sealed_rows"], body["index"]["tail_rows"]) == (300, 0)
        assert relations(app, old) == []
        assert sum("seg" in index for index in relations(app, new)) == 1

    def test_a_name_that_is_taken_is_refused_at_once_or_when_the_job_runs(self, app: InProcess) -> None:
        one, other, new = app.dataset(PLAIN), app.dataset(PLAIN), new_name()
        app.work()
        assert operate(app, one, "rename", {"name": other}).json()["code"] == "dataset_exists"
        rename = operate(app, one, "rename", {"name": new})
        assert app.http.post(URL, json={**PLAIN, "name": new}).status_code == 202
        app.post(one, [{"id": 1}])
        found = job(app, rename)
        assert (found["state"], found["error"]["code"]) == ("failed", "dataset_exists")
        body = app.http.get(f"{URL}/{one}").json()
        assert (body["change_pending"], body["error"]["code"], body["contract"]["name"]) == (
            False,
            "dataset_exists",
            one,
        )
        assert (ids(app, one), ids(app, new)) == ([1], [])
        succeeded(app, operate(app, one, "rename", {"name": new_name()}))

    def test_a_rename_that_is_cancelled_changes_nothing(self, app: InProcess) -> None:
        old, new = app.dataset(PLAIN), new_name()
        app.work()
        rename = operate(app, old, "rename", {"name": new})
        assert app.http.patch(f"{URL}/{old}", json={"title": "T"}).json()["code"] == "change_under_way"
        assert operate(app, old, "rename", {"name": new}).json()["code"] == "change_under_way"
        assert app.http.post(rename.json()["links"]["cancel"]).json()["state"] == "cancelled"
        succeeded(app, app.http.patch(f"{URL}/{old}", json={"title": "T"}))
        succeeded(app, app.post(old, [{"id": 1}]))
        assert ids(app, old) == [1]
        assert app.http.get(f"{URL}/{old}").json()["contract"]["title"] == "T"

    def test_a_change_that_goes_on_has_to_end_first(self, app: InProcess) -> None:
        name = app.dataset(PLAIN)
        assert operate(app, name, "rename", {"name": new_name()}).json()["code"] == "change_under_way"
        app.work()
        app.http.patch(f"{URL}/{name}", json={"title": "T"})
        assert operate(app, name, "rename", {"name": new_name()}).json()["code"] == "change_under_way"

    def test_a_failed_job_of_before_is_not_tried_again_after_it(self, app: InProcess) -> None:
        old, new = app.dataset(PLAIN | {"key": ["id"]}), new_name()
        app.post(old, [{"id": 2}])
        failed = app.http.patch(app.key(old, "1"), json={"t": "x"})
        assert job(app, failed)["state"] == "failed"
        succeeded(app, operate(app, old, "rename", {"name": new}))
        answer = app.http.post(failed.json()["links"]["retry"])
        assert (answer.status_code, answer.json()["code"]) == (409, "not_retryable")

    def test_a_table_that_somebody_else_made_is_left_alone(self, app: InProcess) -> None:
        name, new = app.dataset(PLAIN), new_name()
        app.work()
        with app.gristmill.database.transaction() as connection:
            connection.exec_driver_sql(f"CREATE TABLE data.{new} (a int)")
        assert job(app, operate(app, name, "rename", {"name": new}))["error"]["code"] == "table_exists"
        assert ids(app, name) == []

    def test_drop_goes_by_the_new_name(self, app: InProcess) -> None:
        old, new = app.dataset(PLAIN), new_name()
        app.work()
        succeeded(app, operate(app, old, "rename", {"name": new}))
        succeeded(app, app.http.delete(f"{URL}/{new}?confirm={new}"))
        assert relations(app, new) == []
        assert app.http.post(URL, json={**PLAIN, "name": new}).status_code == 202

    @pytest.mark.parametrize(
        ("body", "pointer", "code"),
        [
            ({}, "/name", "missing"),
            ([], "", "wrong_type"),
            ({"name": 1}, "/name", "wrong_type"),
            ({"name": "A"}, "/name", "bad_name"),
            ({"name": "a__b"}, "/name", "reserved_name"),
            ({"name": "x" * 49}, "/name", "bad_name"),
            ({"name": "a", "where": {}}, "/where", "unknown_member"),
        ],
    )
    def test_a_bad_body_is_refused(self, app: InProcess, body: Any, pointer: str, code: str) -> None:
        answer = operate(app, app.dataset(PLAIN), "rename", body)
        assert answer.status_code == 422
        assert [(one["pointer"], one["code"]) for one in answer.json()["errors"]] == [(pointer, code)]

    def test_its_own_name_is_no_new_one(self, app: InProcess) -> None:
        name = app.dataset(PLAIN)
        assert operate(app, name, "rename", {"name": name}).json()["errors"][0]["code"] == "unchanged"


class TestCopy:
    def test_it_has_the_contract_and_what_was_submitted_before(self, app: InProcess) -> None:
        name, new = app.dataset(THINGS), new_name()
        app.post(name, records(1, 2))
        app.post(name, records(1, t="newer"))
        copy = operate(app, name, "copy", {"name": new})
        app.post(name, records(3))
        early = app.post(new, records(2, 8))
        found = succeeded(app, copy)
        assert (found["dataset"], found["result"]) == (new, {"table": f"data.{new}", "rows": 2})
        assert app.http.get(early.json()["links"]["self"]).json()["state"] == "succeeded"
        assert [(row["id"], row["t"]) for row in app.rows(new)] == [(1, "newer"), (2, "t2"), (8, "t8")]
        assert ids(app, name) == [1, 2, 3]
        one, other = (app.http.get(f"{URL}/{which}").json() for which in (name, new))
        assert {**one["contract"], "name": new} == other["contract"]
        assert one["id"] != other["id"]
        hits = app.http.post(f"{URL}/{new}/search", json={"vector": [1, 1], "k": 1}).json()["hits"]
        assert [hit["key"] for hit in hits] == [1]
        words = app.http.post(f"{URL}/{new}/search", json={"text": "newer", "mode": "text"}).json()["hits"]
        assert [hit["key"] for hit in words] == [1]

    def test_a_filter_chooses_what_is_copied(self, app: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gristmill.datasets.operations.repository.SLICE_ROWS", 3)
        name, new = app.dataset(PLAIN), new_name()
        app.post(name, [{"id": number % 4, "t": str(number)} for number in range(20)])
        found = succeeded(app, operate(app, name, "copy", {"name": new, "where": {"id": {"ge": 2}}}))
        assert found["result"]["rows"] == 10
        assert [row["t"] for row in app.rows(new)] == [str(number) for number in range(20) if number % 4 >= 2]

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [({"name": "x", "where": {"nope": 1}}, "/where/nope"), ({"name": "x", "where": 1}, "/where"), ({}, "/name")],
    )
    def test_a_bad_body_is_refused_and_nothing_is_made(self, app: InProcess, body: Any, pointer: str) -> None:
        name = app.dataset(PLAIN)
        answer = operate(app, name, "copy", body)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
        assert app.http.get(f"{URL}/x").status_code == 404

    def test_of_two_to_one_name_the_second_is_refused_and_two_names_get_the_same(self, app: InProcess) -> None:
        name, one, other = app.dataset(PLAIN), new_name(), new_name()
        app.post(name, [{"id": 1}])
        first = operate(app, name, "copy", {"name": one})
        assert operate(app, name, "copy", {"name": one}).json()["code"] == "dataset_exists"
        second = operate(app, name, "copy", {"name": other})
        third = operate(app, one, "copy", {"name": new_name()})
        for answer in (first, second, third):
            assert succeeded(app, answer)["result"]["rows"] == 1
        assert ids(app, one) == ids(app, other) == [1]

    def test_a_source_that_is_dropped_or_renamed_meanwhile(self, app: InProcess) -> None:
        name, new, renamed = app.dataset(PLAIN), new_name(), new_name()
        app.post(name, [{"id": 1}])
        work(app)
        rename = operate(app, name, "rename", {"name": renamed})
        copy = operate(app, name, "copy", {"name": new})
        succeeded(app, rename)
        assert app.http.get(copy.json()["links"]["self"]).json()["result"]["rows"] == 1
        lost = new_name()
        copy = operate(app, renamed, "copy", {"name": lost})
        app.http.delete(f"{URL}/{renamed}?confirm={renamed}")
        assert job(app, copy)["error"]["code"] == "unknown_dataset"
        assert app.http.get(f"{URL}/{lost}").json()["state"] == "failed"
        assert app.post(lost, [{"id": 1}]).json()["code"] == "dataset_failed"

    def test_a_change_that_fails_before_the_copy_runs(self, app: InProcess) -> None:
        name, new = app.dataset(PLAIN), new_name()
        succeeded(app, app.post(name, [{"id": 1}]))
        change = app.http.patch(f"{URL}/{name}", json={"add_fields": [{"name": "more", "type": "integer"}]})
        copy = operate(app, name, "copy", {"name": new})
        app.http.post(change.json()["links"]["cancel"])
        succeeded(app, copy)
        assert app.rows(new) == [{"id": 1, "t": None, "at": None, "more": None}]
        succeeded(app, app.post(new, [{"id": 2, "more": 1}]))

    def test_a_copy_that_is_dropped_while_it_is_made_ends(self, app: InProcess) -> None:
        name, new = app.dataset(PLAIN), new_name()
        app.post(name, [{"id": 1}])
        copy = operate(app, name, "copy", {"name": new})
        app.http.delete(f"{URL}/{new}?confirm={new}")
        assert job(app, copy)["state"] == "cancelled"
        assert relations(app, new) == []

    def test_putting_it_off_is_refused(self, app: InProcess) -> None:
        name = app.dataset(PLAIN)
        answer = operate(app, name, "copy", {"name": new_name()}, params={"run_at": "2999-01-01T00:00:00Z"})
        assert answer.json()["errors"][0]["pointer"] == "/query/run_at"
