"""A worker of long jobs that is killed: near-duplicates come once and whole, or not yet; recall is learnt after all."""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.support.faults import FaultStack, own_stack
from tests.support.images import small
from tests.support.rest import Json, Rest, new_name
from tests.support.system import eventually

from gristmill.client import Client

pytestmark = [pytest.mark.promise(1), pytest.mark.promise(2)]
END = "SELECT FROM gristmill.jobs WHERE id = %s FOR UPDATE"
BLOCKED = """
SELECT pid FROM pg_stat_activity WHERE application_name = 'gristmill-worker' AND %s = ANY(pg_blocking_pids(pid))
"""
TABLE = "SELECT to_regclass(%s) AS found"
CONTRACT: Json = {
    "fields": [{"name": "id", "type": "integer", "required": True}],
    "key": ["id"],
    "embedding": {"dimensions": 64},
}


@pytest.fixture(scope="module")
def own() -> Iterator[FaultStack]:
    """Servers and processes of their own: these tests have a worker of the queue ``long`` beside."""
    with own_stack("duplicates") as found:
        yield found


@pytest.fixture
def stack(own: FaultStack) -> FaultStack:
    own.heal()
    return own


def records(count: int) -> tuple[list[Json], list[int]]:
    """Return records, and the ids of those that have a near-duplicate."""
    random = np.random.default_rng(11)
    matrix = random.normal(size=(count, 64))
    twins = count // 10
    matrix[:twins] = matrix[-twins:] * 1.5 + 0.001 * random.normal(size=(twins, 64))
    rows = [{"id": n, "_embedding": row} for n, row in enumerate(matrix.round(6).tolist())]
    return rows, [*range(twins), *range(count - twins, count)]


@pytest.mark.parametrize("phase", ["while it reads", "before it commits"])
def test_a_worker_that_is_killed_leaves_nothing_and_the_next_one_does_it(stack: FaultStack, phase: str) -> None:
    stack.system.start("long")
    rows, expected = records(400)
    with Rest(stack.system) as rest:
        name, into = rest.create(CONTRACT), new_name()
        rest.store(name, rows)
        body = {"threshold": 0.01, "into": into}
        with stack.locked(f"LOCK TABLE data.{name} IN ACCESS EXCLUSIVE MODE") as table:
            answer = rest.http.post(f"/api/v1/datasets/{name}/images/duplicates", json=body)
            assert answer.status_code == 202, answer.text
            job_id = answer.json()["id"]
            stack.running(job_id)
            if phase == "while it reads":
                pid = table.info.backend_pid
                eventually(lambda: stack.system.query(BLOCKED, (pid,)), "it waits for the vectors")
                stack.system.kill("long")
            else:
                with stack.locked(END, (job_id,)) as end:
                    table.rollback()
                    pid = end.info.backend_pid
                    eventually(lambda: stack.system.query(BLOCKED, (pid,)), "all is done but the commit")
                    stack.system.kill("long")
        eventually(lambda: stack.system.query(TABLE, (f"data.{into}",)) == [{"found": None}], "there is no table")
        assert rest.http.get(f"/api/v1/datasets/{into}").json()["state"] == "creating"
        stack.system.start("long2")
        job = stack.system.finished(job_id)
        assert job["state"] == "succeeded", job
        assert stack.system.chunk(job_id)["attempts"] >= 2
        assert job["result"]["rows"] == len(expected)
        found = rest.rows(into)
        assert [row["id"] for row in found] == expected
        assert len({row["group"] for row in found}) == len(expected) // 2
        assert all(0 <= row["distance"] <= 0.01 for row in found)


def test_recall_is_learnt_although_the_worker_that_learns_it_is_killed(stack: FaultStack) -> None:
    stack.system.start("long")
    rows, _ = records(1500)
    with Rest(stack.system) as rest:
        name = rest.create(CONTRACT)
        rest.store(name, rows)
        index = f"/api/v1/datasets/{name}/index"
        search = {"vector": rows[3]["_embedding"], "k": 10}
        # Curves can be read and not be stored.
        with stack.locked("LOCK TABLE gristmill.segment_curves IN EXCLUSIVE MODE") as curves:
            built = rest.http.post(f"{index}/rebuild?wait=60")
            assert (built.status_code, built.json()["state"]) == (200, "succeeded"), built.text
            assert rest.http.post(f"{index}/tune").status_code == 202
            pid = curves.info.backend_pid
            eventually(lambda: stack.system.query(BLOCKED, (pid,)), "a curve is learnt and about to be stored")
            stack.system.kill("long")
            meanwhile = rest.http.post(f"/api/v1/datasets/{name}/search", json=search).json()
            assert (meanwhile["recall_known_from"], len(meanwhile["hits"])) == ("assumed", 10)
        stack.system.start("long2")
        eventually(lambda: rest.http.get(index).json()["recall"], "the recall is measured", 60)
        (segment,) = rest.http.get(index).json()["segments"]
        assert segment["curve"]["known_from"] == "records"
        eventually(
            lambda: (
                rest.http.post(f"/api/v1/datasets/{name}/search", json=search).json()["recall_known_from"] == "records"
            ),
            "searches go by the curve",
        )


def test_the_client_sends_a_zip_and_finds_the_duplicates_in_it(stack: FaultStack, tmp_path: Path) -> None:
    stack.system.start("long")
    photo = {"name": "photo", "type": "image"}
    contract = {**CONTRACT, "fields": [*CONTRACT["fields"], photo], "embedding": {"dimensions": 2}}
    path = tmp_path / "styles.zip"
    with zipfile.ZipFile(path, "w") as file:
        vectors = ([1, 0], [0, 1], [2, 0])
        lines = [f'{{"id":{n},"photo":"{n}.png","_embedding":{vector}}}\n' for n, vector in enumerate(vectors)]
        file.writestr("metadata.ndjson", "".join(lines))
        for n in range(3):
            file.writestr(f"{n}.png", small(colour=(n, n, n)))
    with Rest(stack.system) as rest, Client(str(rest.http.base_url)) as client:
        name, into = rest.create(contract), new_name()
        job = client.submit(name, path, wait=True)
        assert job["record_counts"]["succeeded"] == 3
        job = client.find_duplicates(name, 0.0, into, wait=True)
        assert (job["state"], job["result"]["groups"]) == ("succeeded", 1)
        assert [(row["id"], row["of_id"]) for row in client.records(into)] == [(0, 0), (2, 0)]
