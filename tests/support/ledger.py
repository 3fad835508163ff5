"""The client's own books: every write that was answered with 202, held against the jobs and the whole table."""

import time
import uuid
from collections import Counter
from typing import Any

import httpx

from tests.support.system import System, eventually

Record = dict[str, Any]
# (_seq, _ord, name, value): everything that a row of these datasets is made of.
Row = tuple[int, int, str, int]


class Ledger:
    """One dataset of (name, value), keyed by name or without a key, and what was accepted for it.

    Without a key each record is a row: one that is applied twice shows. With one the newest record of each name stays:
    one that is applied in the wrong order shows.
    """

    def __init__(self, system: System, *, keyed: bool = False) -> None:
        self.system = system
        self.keyed = keyed
        self.name = f"d_{uuid.uuid4().hex[:12]}"
        self.table = f"data.{self.name}"
        self.accepted: dict[str, list[Record]] = {}
        contract = {
            "name": self.name,
            "fields": [{"name": "name", "type": "text", "required": True}, {"name": "value", "type": "integer"}],
            **({"key": ["name"]} if keyed else {}),
        }
        headers = {"idempotency-key": uuid.uuid4().hex}

        def create() -> httpx.Response | None:
            answer = httpx.post(f"{system.url}/api/v1/datasets?wait=30", json=contract, headers=headers, timeout=60)
            # After a fault of the test before the API may still hold connections that are lost.
            return None if answer.status_code == 503 else answer

        answer = eventually(create, "the API creates a dataset")
        assert answer.status_code == 200, answer.text
        assert answer.json()["state"] == "succeeded", answer.text

    @property
    def url(self) -> str:
        return f"{self.system.url}/api/v1/datasets/{self.name}/records"

    def post(self, records: list[Record], key: str | None = None, **query: Any) -> str:
        """Submit records once and enter the job that was accepted; return its id."""
        headers = {"Idempotency-Key": key} if key else {}
        answer = httpx.post(self.url, json=records, headers=headers, params=query, timeout=60)
        return self.enter(answer, records)

    def enter(self, answer: httpx.Response, records: list[Record]) -> str:
        """Note an answer of 202, or of 200 after a wait."""
        assert answer.status_code in (200, 202), answer.text
        job_id = str(answer.json()["id"])
        # The same key gives the same job: its records count once.
        assert self.accepted.setdefault(job_id, records) == records
        return job_id

    def post_until_answered(
        self, client: httpx.Client, records: list[Record], seconds: float = 60, pause: float = 0.1
    ) -> tuple[str, int]:
        """Submit with an Idempotency-Key, again and again while nobody answers or the answer is "later".

        Returns the job's id and how often it was asked for.
        """
        key = uuid.uuid4().hex
        deadline = time.monotonic() + seconds
        asked = 0
        while True:
            asked += 1
            try:
                answer = client.post(self.url, json=records, headers={"Idempotency-Key": key})
                if answer.status_code not in (429, 503):
                    return self.enter(answer, records), asked
                said = answer.text
            except httpx.HTTPError as error:
                said = repr(error)
            assert time.monotonic() < deadline, f"no answer within {seconds} s; the last was {said}"
            time.sleep(pause)

    def rows(self) -> list[Row]:
        """The full content of the table."""
        found = self.system.query(f"SELECT _seq, _ord, name, value FROM {self.table} ORDER BY _seq, _ord, name")
        return [(row["_seq"], row["_ord"], row["name"], row["value"]) for row in found]

    def expected(self) -> list[Row]:
        """What the table must hold: the accepted jobs applied one by one in the order of their numbers."""
        rows: dict[Any, Row] = {}
        for job_id, seq in self._jobs():
            for place, record in enumerate(self.accepted.get(job_id, ())):
                identity = record["name"] if self.keyed else (seq, place)
                rows[identity] = (seq, place, record["name"], record["value"])
        return sorted(rows.values())

    def _jobs(self) -> list[tuple[str, int]]:
        found = self.system.query(
            "SELECT id::text, seq FROM gristmill.jobs WHERE dataset = %s AND type = 'records.ingest' ORDER BY seq",
            (self.name,),
        )
        return [(row["id"], row["seq"]) for row in found]

    def settle(self, seconds: float = 120) -> None:
        """Wait until no job of the dataset is unfinished."""
        eventually(
            lambda: not self._unfinished(),
            lambda: f"all jobs have finished; these have not: {self._unfinished()}",
            seconds,
            0.1,
        )

    def _unfinished(self) -> list[dict[str, Any]]:
        return self.system.query(
            "SELECT j.id::text, j.state, c.number, c.state AS chunk, c.attempts, c.dispatch, c.run_at, c.sent_at "
            "FROM gristmill.jobs j JOIN gristmill.chunks c ON c.job_id = j.id "
            "WHERE j.dataset = %s AND j.finished_at IS NULL LIMIT 5",
            (self.name,),
        )

    def check(self, seconds: float = 120) -> None:
        """Every accepted job has succeeded, there is no other, and the table holds exactly their records."""
        self.settle(seconds)
        assert self.violations() == []

    def violations(self) -> list[str]:
        """What is wrong once every job has finished; nothing if all promises were kept."""
        found = []
        jobs = {job_id for job_id, _ in self._jobs()}
        if lost := set(self.accepted) - jobs:
            found.append(f"{len(lost)} accepted jobs are gone: {sorted(lost)[:3]}")
        if unknown := jobs - set(self.accepted):
            found.append(f"{len(unknown)} jobs nobody was told of: {sorted(unknown)[:3]}")
        for job in self.system.query(
            "SELECT id::text, state, error FROM gristmill.jobs WHERE dataset = %s AND state <> 'succeeded' LIMIT 5",
            (self.name,),
        ):
            found.append(f"job {job['id']} is {job['state']}: {job['error']}")
        rows, expected = Counter(self.rows()), Counter(self.expected())
        if missing := expected - rows:
            found.append(f"{missing.total()} rows are missing: {sorted(missing)[:3]}")
        if surplus := rows - expected:
            found.append(f"{surplus.total()} rows are too many or wrong: {sorted(surplus)[:3]}")
        left = self.system.query(
            "SELECT job_id FROM gristmill.payloads WHERE job_id = ANY(%s::uuid[]) UNION ALL "
            "SELECT job_id FROM gristmill.leases WHERE job_id = ANY(%s::uuid[])",
            (list(self.accepted), list(self.accepted)),
        )
        if left:
            found.append(f"{len(left)} payloads or leases are left over: {[str(row['job_id']) for row in left[:3]]}")
        return [f"{self.name}: {what}" for what in found]


def batch(size: int, prefix: str = "r", value: int = 0) -> list[Record]:
    """Records with names of their own."""
    return [{"name": f"{prefix}{place}", "value": value + place} for place in range(size)]
