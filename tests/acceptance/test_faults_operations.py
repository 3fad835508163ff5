"""Workers killed in the middle of a truncate, a rename, a copy: all of it happens once, or none of it yet."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.faults import FaultStack, own_stack
from tests.support.rest import Json, Rest, new_name
from tests.support.system import eventually

from gristmill.core.database import Database
from gristmill.datasets.primary_key.tasks import primary_keys

pytestmark = [pytest.mark.promise(1), pytest.mark.promise(2), pytest.mark.promise(3)]
CONTRACT: Json = {
    "fields": [{"name": "id", "type": "integer", "required": True}, {"name": "t", "type": "text", "filterable": True}],
    "key": ["id"],
}
BEFORE = [{"id": number, "t": "before"} for number in range(300)]
AFTER = [{"id": 0, "t": "after"}, {"id": 1000, "t": "after"}]
LOCK = "LOCK TABLE data.{} IN ACCESS EXCLUSIVE MODE"
END = "SELECT FROM gristmill.jobs WHERE id = %s FOR UPDATE"
BLOCKED = """
SELECT pid FROM pg_stat_activity WHERE application_name = 'gristmill-worker' AND %s = ANY(pg_blocking_pids(pid))
"""

KEY = """
SELECT pg_get_constraintdef(oid) AS text FROM pg_constraint WHERE contype = 'p' AND conrelid = %s::regclass
"""


@pytest.fixture(scope="module")
def own() -> Iterator[FaultStack]:
    """Servers and processes of their own: these tests have a worker of the queue ``long`` beside."""
    with own_stack("operations") as found:
        yield found


@pytest.fixture
def stack(own: FaultStack) -> FaultStack:
    own.heal()
    return own


def merged(*batches: list[Json]) -> list[Json]:
    return sorted({row["id"]: row for batch in batches for row in batch}.values(), key=lambda row: int(row["id"]))


@pytest.mark.parametrize(("what", "worker"), [("truncate", "worker"), ("rename", "worker"), ("copy", "long")])
def test_a_worker_that_is_killed_before_the_commit_leaves_nothing_and_the_next_one_does_it(
    stack: FaultStack, what: str, worker: str
) -> None:
    stack.system.start("long")
    with Rest(stack.system) as rest:
        name, new = rest.create(CONTRACT), new_name()
        rest.store(name, BEFORE)
        with stack.locked(LOCK.format(name)) as table:
            body: Any = None if what == "truncate" else {"name": new}
            answer = rest.http.post(f"/api/v1/datasets/{name}/{what}", json=body)
            job_id = answer.json()["id"]
            stack.running(job_id)
            waiting = rest.post(name, AFTER)
            with stack.locked(END, (job_id,)) as end:
                table.rollback()
                pid = end.info.backend_pid
                eventually(lambda: stack.system.query(BLOCKED, (pid,)), "all is done but the commit")
                stack.system.kill(worker)
        eventually(lambda: rest.rows(name) == BEFORE, "what the killed worker did is not there")
        stack.system.start(f"{worker}2")
        assert stack.system.finished(job_id)["state"] == "succeeded"
        assert stack.system.chunk(job_id)["attempts"] >= 2
        rest.succeeded(waiting)
        if what == "truncate":
            assert rest.rows(name) == AFTER
        elif what == "rename":
            assert rest.rows(new) == merged(BEFORE, AFTER)
            assert rest.http.get(f"/api/v1/datasets/{name}").status_code == 404
            assert rest.rows(rest.create(CONTRACT, name)) == []
        else:
            assert rest.rows(new) == BEFORE
            assert rest.rows(name) == merged(BEFORE, AFTER)
            assert rest.succeeded(rest.post(new, AFTER, params={"wait": 30}))["record_counts"]["succeeded"] == 2


def test_writers_that_know_the_old_name_lose_nothing_while_it_is_renamed(stack: FaultStack) -> None:
    with Rest(stack.system) as rest:
        name, new = rest.create(CONTRACT), new_name()
        stack.system.pause("dispatcher")
        sent, rename = [], None
        for number in range(40):
            if number == 20:
                rename = rest.http.post(f"/api/v1/datasets/{name}/rename", json={"name": new})
            sent.append(rest.post(name, [{"id": number, "t": str(number)}]))
        stack.system.resume("dispatcher")
        assert rename is not None
        rest.succeeded(rename)
        for answer in sent:
            rest.succeeded(answer)
        assert [row["id"] for row in rest.rows(new)] == list(range(40))
        late = rest.post(name, [{"id": 1}])
        assert (late.status_code, late.json()["code"]) == (404, "unknown_dataset")


def test_a_worker_that_is_killed_while_it_makes_a_primary_key(stack: FaultStack) -> None:
    stack.system.start("long")
    query = stack.system.query
    with Rest(stack.system) as rest:
        name = rest.create(CONTRACT)
        rest.store(name, BEFORE)
        query(f"ALTER TABLE data.{name} DROP CONSTRAINT {name}__key, ADD CONSTRAINT {name}__key UNIQUE (id)")
        # A transaction that writes to the table keeps the build waiting, and its index invalid.
        with stack.locked(f"LOCK TABLE data.{name} IN ROW EXCLUSIVE MODE"):
            database = Database(stack.postgres.url, "test-keys", pool=1)
            assert primary_keys(database).run() >= 1
            database.close()
            built = "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(%s) AND NOT indisvalid"
            eventually(lambda: query(built, (f"data.{name}__pk",)), "the index is being built")
            stack.system.kill("long")
            rest.store(name, AFTER)
        stack.system.start("long2")
        found = eventually(lambda: query(KEY, (f"data.{name}",)), "the table has its key", 60)
        assert found == [{"text": "PRIMARY KEY (id)"}]
        assert rest.rows(name) == merged(BEFORE, AFTER)
        rest.store(name, BEFORE)
        assert rest.rows(name) == merged(AFTER, BEFORE)


def test_a_worker_that_is_killed_while_it_builds_the_index_of_a_field(stack: FaultStack) -> None:
    stack.system.start("long")
    valid = "SELECT indisvalid AS valid FROM pg_index WHERE indexrelid = to_regclass(%s)"
    with Rest(stack.system) as rest:
        text = {"name": "t", "type": "text", "max_length": 100}
        name = rest.create({**CONTRACT, "fields": [CONTRACT["fields"][0], text]})
        rest.store(name, BEFORE)
        index = f"data.{name}__f1"
        # A transaction that writes to the table keeps the build waiting, and its index invalid.
        with stack.locked(f"LOCK TABLE data.{name} IN ROW EXCLUSIVE MODE"):
            body = {"alter_fields": [{"name": "t", "filterable": True}]}
            job = rest.succeeded(rest.http.patch(f"/api/v1/datasets/{name}", json=body))
            building = job["result"]["indexes_job"]
            eventually(lambda: stack.system.query(valid, (index,)) == [{"valid": False}], "the index is being built")
            stack.system.kill("long")
            rest.store(name, AFTER)
        stack.system.start("long2")
        done = stack.system.finished(building)
        # The backend of the killed worker may have come to its end: that is taken then.
        assert done["state"] == "succeeded"
        assert stack.system.chunk(building)["attempts"] == 2
        assert stack.system.query(valid, (index,)) == [{"valid": True}]
        assert rest.rows(name, where='{"t": "after"}') == AFTER


@pytest.mark.parametrize(("what", "worker"), [("records", "worker"), ("recompute", "long"), ("fit", "long")])
def test_a_worker_that_is_killed_between_the_steps_and_the_commit(stack: FaultStack, what: str, worker: str) -> None:
    stack.system.start("long")
    steps = [
        {"op": "filter", "condition": "id % 7 != 0"},
        {"op": "derive", "as": "t", "value": "text(id * 2)"},
        {"op": "normalise", "column": "id", "as": "scaled", "method": "minmax"},
    ]
    computed = [{"name": "t", "type": "text", "computed": True}, {"name": "scaled", "type": "float", "computed": True}]
    body = {"fields": [CONTRACT["fields"][0], *computed], "key": ["id"], "pipeline": steps}
    sent = [{"id": number} for number in range(300)]
    first = [{"id": number, "t": str(number * 2), "scaled": None} for number in range(300) if number % 7]
    later = [{**row, "t": f"{row['t']}!"} for row in first]
    with Rest(stack.system) as rest:
        name = rest.create(body)
        path = f"/api/v1/datasets/{name}"
        if what != "records":
            rest.store(name, sent)
        if what == "recompute":
            changed = [steps[0], {**steps[1], "value": "text(id * 2) + '!'"}, steps[2]]
            rest.succeeded(rest.http.patch(path, json={"pipeline": changed}))
        before = rest.rows(name)
        with stack.locked(LOCK.format(name)) as table:
            answer = rest.http.post(f"{path}/{what}", json=sent if what == "records" else {})
            job_id = answer.json()["id"]
            stack.running(job_id)
            with stack.locked(END, (job_id,)) as end:
                table.rollback()
                pid = end.info.backend_pid
                eventually(lambda: stack.system.query(BLOCKED, (pid,)), "all is done but the commit")
                stack.system.kill(worker)
        eventually(lambda: rest.rows(name) == before, "what the killed worker did is not there")
        stack.system.start(f"{worker}2")
        job = stack.system.finished(job_id)
        assert job["state"] == "succeeded"
        assert stack.system.chunk(job_id)["attempts"] >= 2
        assert rest.rows(name) == (later if what == "recompute" else first)
        shown = rest.http.get(path).json()
        if what == "records":
            counts = rest.http.get(answer.json()["links"]["self"]).json()["record_counts"]
            assert (counts["succeeded"], counts["dropped"]) == (257, 43)
        if what == "recompute":
            assert job["result"] == {"records": 257, "changed": 257}
        if what == "fit":
            assert shown["version"] == 2
            assert shown["contract"]["pipeline"][2]["fitted"] == {"minimum": 1.0, "maximum": 299.0}
