"""Index builds as jobs of real processes: progress over REST, and a worker that is killed in the middle."""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.faults import FaultStack
from tests.support.rest import Json, Rest
from tests.support.servers import add_database, add_vhosts
from tests.support.system import System, eventually

VECTORS: Json = {
    "fields": [{"name": "id", "type": "integer", "required": True}],
    "key": ["id"],
    "embedding": {"dimensions": 8},
}
ROWS = 1500


@pytest.fixture
def sealing(stack: FaultStack, tmp_path: Path) -> Iterator[System]:
    """Processes, a database and queues of their own: a short lease, and a tail that is due from 1,000 records on."""
    found = System(
        add_database(os.environ["GRISTMILL_TEST_POSTGRES"], os.environ["GRISTMILL_TEST_TEMPLATE"]),
        *add_vhosts(stack.broker, "test7"),
        tmp_path / "sealing",
        jobs_lease=5,
        jobs_heartbeat=1,
        jobs_resend_after=2,
        jobs_retry_base=0.1,
        dispatcher_poll=0.2,
        search_seal_rows=1000,
    )
    found.start()
    yield found
    found.stop()


@pytest.mark.promise(5)
def test_a_build_whose_worker_is_killed_is_shown_goes_on_and_leaves_nothing(sealing: System) -> None:
    """The build stands still at its end, where it waits for a transaction that is open elsewhere."""
    with Rest(sealing) as rest:
        name = rest.create(VECTORS)
        values = random.Random(1)
        vectors = [[values.gauss(0, 1) for _ in range(8)] for _ in range(ROWS)]

        def index() -> Json:
            found: Json = rest.http.get(f"/api/v1/datasets/{name}").json()["index"]
            return found

        def found() -> list[int]:
            body = {"vector": vectors[0], "k": 1000}
            answer = rest.http.post(f"/api/v1/datasets/{name}/search", json=body).json()
            assert (answer["complete"], len(answer["hits"])) == (True, 1000)
            return [hit["key"] for hit in answer["hits"][:10]]

        def waits() -> Any:
            shown = index()["building"]
            return shown is not None and shown["phase"] == "waiting for old snapshots" and shown

        with sealing.connect() as held, held.cursor() as cursor:
            held.set_session(isolation_level="REPEATABLE READ")
            cursor.execute("SELECT count(*) FROM gristmill.datasets")
            rest.store(name, [{"id": n, "_embedding": vector} for n, vector in enumerate(vectors)])
            before = found()
            building = eventually(waits, "the build waits for the open transaction", 90)
            assert (building["fraction"], building["rows"]) == (0.99, ROWS)
            job = rest.http.get(f"/api/v1/jobs/{building['job']}").json()
            assert (job["type"], job["state"]) == ("index.build", "running")
            eventually(
                lambda: rest.http.get(f"/api/v1/jobs/{job['id']}").json()["progress"] > 0.9, "the job shows it too", 30
            )
            sealing.kill("long")
            assert index()["segments"] == 0
            assert found() == before
        sealing.start("long2")
        done = sealing.finished(job["id"], 90)
        assert (done["state"], done["error"]) == ("succeeded", None)
        shown = index()
        assert (shown["segments"], shown["sealed_rows"], shown["tail_rows"], shown["building"]) == (1, ROWS, 0, None)
        assert found() == before
    (row,) = sealing.query(
        "SELECT count(*) AS indexes, bool_and(i.indisvalid) AS valid FROM pg_index i"
        " JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam WHERE a.amname = 'hnsw'"
    )
    assert (row["indexes"], row["valid"]) == (1, True)
    assert sealing.query("SELECT state FROM gristmill.segments") == [{"state": "ready"}]
