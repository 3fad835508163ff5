"""Loads of many chunks, keys that everybody writes, bodies that unfold: nothing is done twice, nothing grows."""

import contextlib
import gzip
import io
import random
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.faults import FaultStack
from tests.support.ledger import Ledger
from tests.support.rest import Rest
from tests.support.system import System, eventually

PARQUET = {"content-type": "application/vnd.apache.parquet"}
NDJSON = {"content-type": "application/x-ndjson"}
MIB = 1024 * 1024


@pytest.mark.promise(1)
@pytest.mark.promise(2)
class TestKilledWorker:
    ROWS = 500_000

    def test_a_large_job_resumes_at_its_unfinished_chunks(self, stack: FaultStack) -> None:
        """Without a key, so that a chunk that is applied twice shows."""
        with Rest(stack.system) as rest:
            fields = [{"name": "n", "type": "integer", "required": True}, {"name": "t", "type": "text"}]
            name = rest.create({"fields": fields})
            answer = rest.post(name, self._parquet(), headers=PARQUET)
        assert answer.status_code == 202, answer.text
        job_id, table = answer.json()["id"], f"data.{name}"
        eventually(lambda: stack.system.job(job_id)["chunks_done"] >= 5, "some chunks are done", 60)
        with stack.locked(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"):
            # Both processes: one that does not wait yet would claim one more chunk after the look at them.
            eventually(lambda: len(stack.waiting_for(table)) == 2, "every process of the worker waits for the table")
            begun = {chunk["number"]: chunk for chunk in self._chunks(stack, job_id)}
            stack.system.kill("worker")
        running = {number for number, chunk in begun.items() if chunk["state"] == "running"}
        done = {number for number, chunk in begun.items() if chunk["state"] == "done"}
        assert len(done) >= 5
        assert len(running) == 2, "the worker was killed within chunks"
        assert len(done) + len(running) < len(begun)

        stack.system.start("worker2")
        job = stack.system.finished(job_id, 120)
        assert (job["state"], job["records_succeeded"]) == ("succeeded", self.ROWS)
        ended = {chunk["number"]: chunk for chunk in self._chunks(stack, job_id)}
        assert {number: ended[number] for number in done} == {number: begun[number] for number in done}
        assert {number for number, chunk in ended.items() if chunk["attempts"] == 2} == running
        (found,) = stack.system.query(
            f"SELECT count(*) AS rows, count(DISTINCT n) AS numbers, min(n) AS low, max(n) AS high, bool_and(_ord = n"
            f" AND t = 'row ' || n) AS exact FROM {table}"
        )
        assert found == {"rows": self.ROWS, "numbers": self.ROWS, "low": 0, "high": self.ROWS - 1, "exact": True}

    def _parquet(self) -> bytes:
        numbers = np.arange(self.ROWS)
        sink = io.BytesIO()
        pq.write_table(pa.table({"n": numbers, "t": [f"row {n}" for n in numbers]}), sink)
        return sink.getvalue()

    def _chunks(self, stack: FaultStack, job_id: str) -> list[dict[str, Any]]:
        return stack.system.query(
            "SELECT number, state, attempts, fence, claimed_at, worker FROM gristmill.chunks WHERE job_id = %s",
            (job_id,),
        )


@pytest.mark.promise(3)
class TestSameKeys:
    def test_four_processes_upsert_the_same_keys_in_the_order_of_submission(self, stack: FaultStack) -> None:
        """Small jobs go in by INSERT, large ones by COPY and a second statement, the largest in several chunks."""
        names = [f"k{n}" for n in range(600)]
        said = stack.postgres.log.stat().st_size
        ledger = Ledger(stack.system, keyed=True)
        stack.system.kill("worker")
        shuffle = random.Random(1)

        def post(number: int) -> str:
            size = (30, 150, 400, 600)[number % 4]
            records = [{"name": name, "value": number} for name in shuffle.sample(names, size)]
            return ledger.post(records)

        with ThreadPoolExecutor(8) as pool:
            jobs = list(pool.map(post, range(60)))
        # All of them wait, so that every process finds the same keys to write at the same time.
        stack.system.start("worker2", worker_processes=4)
        ledger.check()
        assert len(stack.system.pids("worker2")) >= 5
        chunks = stack.system.query(
            "SELECT worker, error FROM gristmill.chunks WHERE job_id = ANY(%s::uuid[])", (jobs,)
        )
        assert len({chunk["worker"] for chunk in chunks}) > 1
        assert not [chunk["error"] for chunk in chunks if chunk["error"]]
        assert not stack.events("worker2", "chunk.retried", code="contended")
        # Nor one that was mended by trying again.
        with stack.postgres.log.open("rb") as log:
            log.seek(said)
            assert b"deadlock detected" not in log.read()


@contextlib.contextmanager
def _fresh(stack: FaultStack, *names: str, **settings: Any) -> Iterator[System]:
    """Run processes that have done nothing before, with these settings; the next test gets others."""
    for name in names:
        stack.system.kill(name)
    stack.system.start(*names, **settings)
    yield stack.system
    for name in names:
        stack.system.kill(name)


def _peaks(system: System, *names: str) -> dict[str, int]:
    """Return the largest resident memory that each process has had, in MiB."""
    found = {}
    for name in names:
        for pid in system.pids(name):
            status = Path(f"/proc/{pid}/status").read_text()
            line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
            found[f"{name} {pid}"] = int(line.split()[1]) // 1024
    return found


@pytest.mark.promise(7)
class TestBomb:
    @pytest.mark.parametrize("encoding", ["gzip", "zstd"])
    def test_a_body_that_unfolds_beyond_the_limit_is_refused_while_it_does(
        self, stack: FaultStack, encoding: str
    ) -> None:
        most, unfolded = 20 * MIB, 1000 * MIB
        line = b'{"n": 1}\n' * 100_000
        count = unfolded // len(line)
        if encoding == "gzip":
            bomb = gzip.compress(line) * count
        else:
            bomb = pa.Codec("zstd").compress(line, asbytes=True) * count
        assert len(bomb) < most / 4
        with _fresh(stack, "api", api_max_body_bytes=most) as system, Rest(system) as rest:
            name = rest.create({"fields": [{"name": "n", "type": "integer"}]})
            before = _peaks(system, "api")
            answer = rest.post(name, bomb, headers={**NDJSON, "content-encoding": encoding})
            assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
            assert f"{most} bytes once it is inflated" in answer.json()["detail"]
            after = _peaks(system, "api")
            assert sum(after.values()) - sum(before.values()) < 60, (before, after)
            assert not system.query("SELECT FROM gristmill.jobs WHERE dataset = %s AND type LIKE 'records%%'", (name,))
            assert rest.store(name, [{"n": 1}])["state"] == "succeeded"


@pytest.mark.promise(7)
class TestLargeBody:
    BYTES = 300 * MIB
    MOST_MIB = 400

    def test_memory_does_not_grow_with_an_ndjson_upload(self, stack: FaultStack) -> None:
        texts = [uuid.uuid4().hex * 60 for _ in range(997)]
        size = len(texts[0]) + 30
        rows = self.BYTES // size

        def body() -> Iterator[bytes]:
            for start in range(0, rows, 500):
                numbers = range(start, min(rows, start + 500))
                yield b"".join(b'{"n": %d, "t": "%s"}\n' % (n, texts[n % 997].encode()) for n in numbers)

        fields = [{"name": "n", "type": "integer", "required": True}, {"name": "t", "type": "text"}]
        name = self._load(stack, {"fields": fields}, body(), NDJSON, rows)
        (found,) = stack.system.query(f"SELECT sum(n) AS total, sum(length(t)) AS letters FROM data.{name}")
        assert found == {"total": rows * (rows - 1) // 2, "letters": rows * len(texts[0])}

    def test_memory_does_not_grow_with_a_parquet_upload(self, stack: FaultStack, tmp_path: Path) -> None:
        rows, step = self.BYTES // 1040, 20_000
        random = np.random.default_rng(1)
        path = tmp_path / "large.parquet"
        schema = pa.schema({"n": pa.int64(), "_embedding": pa.list_(pa.float32(), 256)})
        with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
            for start in range(0, rows, step):
                numbers = np.arange(start, min(rows, start + step))
                vectors = random.standard_normal((len(numbers), 256), dtype=np.float32)
                vectors[:, 0] = numbers
                column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 256)
                writer.write_table(pa.table([pa.array(numbers), column], schema=schema))
        assert path.stat().st_size > 0.95 * self.BYTES

        def body() -> Iterator[bytes]:
            with path.open("rb") as file:
                while block := file.read(MIB):
                    yield block

        fields = [{"name": "n", "type": "integer", "required": True}]
        contract = {"fields": fields, "key": ["n"], "embedding": {"dimensions": 256}}
        name = self._load(stack, contract, body(), PARQUET, rows)
        (found,) = stack.system.query(
            f"SELECT count(*) AS rows, bool_and((_embedding::real[])[1] = n) AS equal FROM data.{name}"
        )
        assert found == {"rows": rows, "equal": True}

    def _load(
        self, stack: FaultStack, contract: dict[str, Any], body: Iterator[bytes], headers: dict[str, str], rows: int
    ) -> str:
        """Load the body with processes that have done nothing before, and hold their memory against the limit."""
        with _fresh(stack, "api", "worker") as system, Rest(system, timeout=300) as rest:
            name = rest.create(contract)
            answer = rest.http.post(f"/api/v1/datasets/{name}/records", content=body, headers=headers)
            assert answer.status_code == 202, answer.text
            job = system.finished(answer.json()["id"], 240)
            assert (job["state"], job["records_succeeded"]) == ("succeeded", rows), job["error"]
            peaks = _peaks(system, "api", "worker", "dispatcher")
        assert len(peaks) >= 5, "the API, the dispatcher, the worker and its two processes"
        assert max(peaks.values()) < self.MOST_MIB, peaks
        return name
