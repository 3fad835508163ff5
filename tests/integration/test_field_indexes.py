"""Indexes that a change of the contract asks for are built by a job, while the table is read and written."""

import threading
from typing import Any

import pytest
from tests.support.in_process import InProcess
from tests.support.system import eventually

from gristmill.datasets.field_indexes.tasks import field_indexes
from gristmill.jobs.repository.dispatch import mark_sent

CONTRACT: dict[str, Any] = {
    "fields": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "t", "type": "text", "max_length": 100},
        {"name": "meta", "type": "json"},
    ],
    "key": ["id"],
}
# Characters that SQL, the driver and formats give a meaning to.
PATHS = ["year", r"a\.b", "100%", "%s", ":x", "it's", r"back\\slash", "{}", '"', "ä 🌾"]
CHANGE = {
    "alter_fields": [
        {"name": "t", "filterable": True},
        {"name": "meta", "members": [{"path": path, "type": "text"} for path in PATHS]},
    ]
}


WAITS = """
SELECT 1 FROM pg_stat_activity
WHERE query LIKE 'CREATE INDEX CONCURRENTLY%%' AND wait_event_type = 'Lock' AND datname = current_database()
"""


def indexes(app: InProcess, name: str) -> dict[str, tuple[str, bool]]:
    """Return definition and completeness of a table's indexes, by what their names end with."""
    sql = """
        SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid), indisvalid FROM pg_index
        WHERE indrelid = %s::regclass
    """
    with app.gristmill.database.autocommit() as connection:
        rows = connection.exec_driver_sql(sql, (f"data.{name}",)).all()
    return {row[0].partition("__")[2]: (row[1].replace(name, "d"), row[2]) for row in rows}


def change(app: InProcess, name: str, body: dict[str, Any]) -> dict[str, Any]:
    """Change the contract; return the result of the job."""
    job = app.job(app.http.patch(f"/api/v1/datasets/{name}", json=body))
    assert job["state"] == "succeeded", job
    return job["result"]  # type: ignore[no-any-return]


def send(app: InProcess) -> list[Any]:
    with app.gristmill.database.transaction() as connection:
        return mark_sent(connection, "long", 100)


def run(app: InProcess, messages: list[Any] | None = None) -> list[Any]:
    """Run what is due in the queue ``long``; return the bodies of the jobs."""
    messages = send(app) if messages is None else messages
    for message in messages:
        app.executor.run(message.job_id, message.number, message.dispatch)
    return [app.http.get(f"/api/v1/jobs/{message.job_id}").json() for message in messages]


@pytest.fixture
def name(app: InProcess) -> str:
    made = app.dataset(CONTRACT)
    app.job(app.post(made, [{"id": n, "t": f"t{n}", "meta": dict.fromkeys(PATHS, f"v{n}")} for n in range(50)]))
    return made


class TestBuild:
    def test_a_changed_table_gets_what_a_new_one_has(self, app: InProcess, name: str) -> None:
        members = CHANGE["alter_fields"][1]["members"]
        fields = [
            CONTRACT["fields"][0],
            {**CONTRACT["fields"][1], "filterable": True},
            {**CONTRACT["fields"][2], "members": members},
        ]
        fresh = app.dataset({**CONTRACT, "fields": fields})
        app.work()
        before = indexes(app, name)
        result = change(app, name, CHANGE)
        assert indexes(app, name) == before
        (job,) = run(app)
        assert (job["id"], job["type"], job["state"], job["dataset"]) == (
            result["indexes_job"],
            "dataset.indexes",
            "succeeded",
            name,
        )
        assert len(job["result"]["made"]) == 1 + len(PATHS)
        assert indexes(app, name) == indexes(app, fresh)
        found = app.http.get(f"/api/v1/datasets/{name}/records", params={"where": '{"meta.100%": "v7"}'}).json()
        assert [row["id"] for row in found["records"]] == [7]

    def test_a_change_without_indexes_has_no_job(self, app: InProcess, name: str) -> None:
        assert "indexes_job" not in change(app, name, {"add_fields": [{"name": "more", "type": "integer"}]})
        assert send(app) == []

    def test_one_that_is_not_wanted_any_more_is_not_built(self, app: InProcess, name: str) -> None:
        before = indexes(app, name)
        change(app, name, CHANGE)
        nothing = [{"name": "t", "filterable": False}, {"name": "meta", "members": []}]
        assert "indexes_job" not in change(app, name, {"alter_fields": nothing})
        assert [job["result"] for job in run(app)] == [{"made": []}]
        assert indexes(app, name) == before

    def test_an_incomplete_one_is_made_anew_and_a_complete_one_is_kept(self, app: InProcess, name: str) -> None:
        change(app, name, CHANGE)
        wanted = run(app)[0]["result"]["made"]
        with app.gristmill.database.transaction() as connection:
            connection.exec_driver_sql(
                "UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", (f"data.{wanted[0]}",)
            )
        change(app, name, {"description": "another version"})
        assert [job["result"] for job in run(app)] == [{"made": [wanted[0]]}]
        assert all(valid for _, valid in indexes(app, name).values())

    def test_a_dataset_that_was_dropped_meanwhile(self, app: InProcess, name: str) -> None:
        change(app, name, CHANGE)
        app.job(app.http.delete(f"/api/v1/datasets/{name}?confirm={name}"))
        (job,) = run(app)
        assert job["state"] == "cancelled"

    def test_a_dataset_that_was_renamed_meanwhile(self, app: InProcess, name: str) -> None:
        change(app, name, CHANGE)
        app.job(app.http.post(f"/api/v1/datasets/{name}/rename", json={"name": f"{name}_r"}))
        (job,) = run(app)
        assert {index.partition("__")[0] for index in job["result"]["made"]} == {f"{name}_r"}


class TestRepair:
    def test_a_job_that_has_failed_is_followed_by_another_one(
        self, app: InProcess, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gristmill.datasets.index_session.LOCK_TIMEOUT", "100ms")
        result = change(app, name, CHANGE)
        repairs = field_indexes(app.gristmill.database)
        with app.gristmill.database.transaction() as connection:
            connection.exec_driver_sql(
                "UPDATE gristmill.jobs SET max_attempts = 1 WHERE id = %s", (result["indexes_job"],)
            )
        assert repairs.run() == 0
        with app.gristmill.database.transaction() as open_one:
            open_one.exec_driver_sql(f"INSERT INTO data.{name} (id, _seq, _ord) VALUES (1000, 0, 0)")
            (job,) = run(app)
        assert (job["state"], job["error"]["code"]) == ("failed", "index_build_interrupted")
        assert (repairs.run(), repairs.run()) == (1, 0)
        (job,) = run(app)
        assert (job["state"], len(job["result"]["made"])) == ("succeeded", 1 + len(PATHS))
        assert repairs.run() == 0

    def test_an_index_that_a_change_took_back_while_it_was_built_is_dropped(self, app: InProcess, name: str) -> None:
        before = indexes(app, name)
        change(app, name, CHANGE)
        with app.gristmill.database.transaction() as connection:
            connection.exec_driver_sql(f"CREATE INDEX {name}__f0 ON data.{name} (id)")
            connection.exec_driver_sql(f"CREATE INDEX {name}__mine ON data.{name} (id)")
        (job,) = run(app)
        assert job["state"] == "succeeded"
        found = indexes(app, name)
        assert "f0" not in found
        assert found.keys() >= {*before, "mine", "f1"}


class TestMeanwhile:
    def test_the_table_is_written_and_read_and_changed_while_an_index_is_built(self, app: InProcess, name: str) -> None:
        """A transaction that is open holds up every concurrent build, which then waits with its lock."""
        change(app, name, CHANGE)
        messages = send(app)
        with app.gristmill.database.transaction() as open_one:
            open_one.exec_driver_sql(f"INSERT INTO data.{name} (id, _seq, _ord) VALUES (1000, 0, 0)")
            thread = threading.Thread(target=run, args=(app, messages))
            thread.start()

            eventually(lambda: is_building(app), "the index waits for the open transaction")
            assert app.job(app.post(name, [{"id": 1, "t": "new"}]))["state"] == "succeeded"
            assert app.rows(name)[1]["t"] == "new"
            assert is_building(app)
        thread.join()
        assert app.http.get(f"/api/v1/jobs/{messages[0].job_id}").json()["state"] == "succeeded"
        assert all(valid for _, valid in indexes(app, name).values())
        assert len(indexes(app, name)) == 2 + 1 + len(PATHS)

    def test_a_change_ends_a_build_and_both_come_to_their_end(self, app: InProcess, name: str) -> None:
        change(app, name, CHANGE)
        messages = send(app)
        open_one = app.gristmill.database.connect_raw()
        with open_one.cursor() as cursor:
            # It reads another table: the change does not wait for it, the build does.
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM gristmill.jobs LIMIT 1")
        thread = threading.Thread(target=run, args=(app, messages))
        thread.start()
        eventually(lambda: is_building(app), "the index waits for the open transaction")
        result = change(app, name, {"add_fields": [{"name": "more", "type": "integer"}]})
        thread.join()
        open_one.close()
        with app.gristmill.database.transaction() as connection:
            sql = "UPDATE gristmill.chunks SET run_at = now() WHERE job_id = %s RETURNING state, error->>'code'"
            row = connection.exec_driver_sql(sql, (messages[0].job_id,)).one()
        assert tuple(row) == ("waiting", "index_build_interrupted")
        (first,) = run(app)
        assert (first["id"], first["attempt"], first["state"]) == (str(messages[0].job_id), 2, "succeeded")
        (second,) = run(app)
        assert (second["id"], second["result"]) == (result["indexes_job"], {"made": []})
        assert all(valid for _, valid in indexes(app, name).values())
        assert len(indexes(app, name)) == 2 + 1 + len(PATHS)


def is_building(app: InProcess) -> bool:
    with app.gristmill.database.autocommit() as connection:
        return connection.exec_driver_sql(WAITS).first() is not None
