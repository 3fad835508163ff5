"""A Gristmill with servers of its own, so that a test may kill, freeze and wipe any part of it."""

import contextlib
import json
import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gristmill.core.database import Database
from gristmill.core.migrate import upgrade
from gristmill.jobs.submit import NewChunk, NewJob, WriteRequest, submit_once
from gristmill.stack import StackFailed
from tests.support import own_jobs, plugin
from tests.support.folders import open_folder
from tests.support.freeze import freeze
from tests.support.rest import Rest
from tests.support.servers import WANTED, make_broker, start_postgres
from tests.support.system import System, eventually
from tests.support.unfinished import cancel_unfinished

# Short enough that a test sees a lease run out, long enough that a busy machine does not lose one by itself.
SETTINGS = {
    "jobs_lease": 5,
    "jobs_heartbeat": 1,
    "jobs_resend_after": 2,
    "jobs_retry_base": 0.1,
    "dispatcher_poll": 0.2,
    # Fixed: killed workers count for a minute where it follows the number of slots.
    "dispatcher_window": 8,
    "broker_confirm_timeout": 3,
    "worker_processes": 2,
    # Learning a curve rests five times as long as it works.
    "search_recall_samples": 40,
    # So that a test with many waiting clients has its time on a busy machine.
    "api_max_wait": 120,
}
APPLICATIONS = ("api", "dispatcher", "worker")


class FaultStack:
    """Postgres, a broker and the processes of one Gristmill; what a test broke is mended by ``heal``."""

    def __init__(self, folder: Path, broker: str, **settings: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)
        self.folder = folder
        self.broker = make_broker(folder / "broker", broker)
        self.postgres = start_postgres(folder / "postgres")
        upgrade(self.postgres.url)
        self.broker.start()
        self.system = System(self.postgres.url, self.broker.url, folder / "system", **{**SETTINGS, **settings})
        self._database = Database(self.postgres.url, "test-submit", pool=4)
        with self._database.transaction() as connection:
            connection.exec_driver_sql(plugin.EFFECTS)
            connection.exec_driver_sql(own_jobs.TABLE)
        self._paused: set[int] = set()
        self._broker_was_killed = False

    def heal(self) -> None:
        """Bring everything back to: one process of each kind, both servers, nothing frozen."""
        self._resume_all()
        if not self.postgres.ready():
            self.start_postgres()
        if not self.broker.ready():
            self.broker.kill()
            self.broker.start()
        left = cancel_unfinished(self._database)
        for name, process in list(self.system.processes.items()):
            if name not in APPLICATIONS or process.poll() is not None or (left and name == "worker"):
                self.system.kill(name)
        self.ensure(*APPLICATIONS)

    def renew_broker(self) -> None:
        """Give the next module an empty broker if this one was killed.

        After several kills in a row a quorum queue of RabbitMQ 3.10 may have no leader any more: it answers nothing.
        """
        if self._broker_was_killed:
            self._broker_was_killed = False
            self.broker.kill()
            self.broker.wipe()
            self.broker.start()

    def drop_searched(self) -> None:
        """Drop the datasets that can be searched: the next worker for long jobs would build their indexes first."""
        left = self.system.query(
            "SELECT name FROM gristmill.datasets WHERE contract->>'embedding' IS NOT NULL AND dropped_at IS NULL"
        )
        with Rest(self.system) as rest:
            for row in left:
                dropped = rest.http.delete(f"/api/v1/datasets/{row['name']}", params={"confirm": row["name"]})
                rest.finished(dropped)

    def ensure(self, *names: str) -> None:
        """Start those of the processes that do not run."""
        missing = [name for name in names if name not in self.system.processes]
        if missing:
            self.system.start(*missing)

    def close(self) -> None:
        self._resume_all()
        self._database.close()
        self.system.stop()
        self.broker.kill()
        self.postgres.kill()

    # Faults of the servers

    def pause_broker(self) -> None:
        """Stop it: connections stay open, nothing is answered."""
        self._paused.add(self.broker.pid)
        freeze(self.broker.pid)

    def kill_broker(self) -> None:
        """SIGKILL, frozen or not; its data stay."""
        self._paused.discard(self.broker.pid)
        self._broker_was_killed = True
        self.broker.kill()

    def start_broker(self, *, empty: bool = False) -> None:
        """Start it again, with its data or ``empty`` as if its disk had been lost."""
        if empty:
            self.broker.wipe()
        self.broker.start()

    def kill_postgres(self) -> None:
        """SIGKILL the postmaster; its backends find out by themselves."""
        self.postgres.kill()
        self._database.close()  # The test's own connections are dead too; the pool makes new ones.

    def start_postgres(self) -> None:
        """Start it again, which Postgres refuses while a backend of the killed postmaster is alive."""

        def started() -> bool:
            with contextlib.suppress(StackFailed):
                self.postgres.start()
                return True
            return False

        eventually(started, "Postgres starts again", 60)

    # Jobs

    def submit(self, type_: str, chunks: int = 1, scope: str = "", exclusive: bool = False, **options: Any) -> str:
        """Submit a job of one of the plugin's types straight to Postgres, as a domain does; return its id."""
        args = options.pop("args", {})
        max_attempts = options.pop("max_attempts", 5)
        parts = [NewChunk(n * 10, 10, f"chunk {n}".encode()) for n in range(chunks)]
        job = NewJob(
            type=type_, scope=scope or uuid.uuid4().hex, exclusive=exclusive, args=args, dataset=None, chunks=parts,
            max_attempts=max_attempts, queue="default", shares=type_ == "test.shared",
        )  # fmt: skip
        request = WriteRequest(principal="test", request_id="r", **options)
        return str(submit_once(self._database, request, lambda _: job))

    def effects(self, job_id: str) -> list[dict[str, Any]]:
        """What the plugin's handlers have written for the job, by chunk."""
        return self.system.query("SELECT * FROM data.effects WHERE job_id = %s ORDER BY number", (job_id,))

    def running(self, job_id: str, number: int = 0) -> dict[str, Any]:
        """Wait until the chunk is running and has its lease; return it."""

        def look() -> dict[str, Any] | None:
            chunk = self.system.chunk(job_id, number)
            leased = self.system.query(
                "SELECT 1 FROM gristmill.leases WHERE job_id = %s AND number = %s AND fence = %s",
                (job_id, number, chunk["fence"]),
            )
            return chunk if chunk["state"] == "running" and leased else None

        return dict(eventually(look, lambda: f"chunk runs: {self.system.chunk(job_id, number)}", 60))

    def events(self, name: str, event: str, **fields: Any) -> list[dict[str, Any]]:
        """The log events of a process that have these fields, oldest first."""
        found = []
        for line in self.system.log(name).splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if entry.get("event") == event and all(entry.get(key) == value for key, value in fields.items()):
                    found.append(entry)
        return found

    # Locks

    @contextlib.contextmanager
    def locked(self, statement: str, parameters: Any = None) -> Iterator[Any]:
        """Hold the locks of a statement until the block ends or ``rollback`` is called on what it gives."""
        with self.system.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET idle_in_transaction_session_timeout = 0")
            cursor.execute(statement, parameters)
            yield connection  # Closing it rolls back.

    def blocked_workers(self, table: str, by: Any) -> list[dict[str, Any]]:
        """Backends of workers that wrote to ``table`` and wait for a row that the connection ``by`` has locked."""
        return self.system.query(
            "SELECT a.pid FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid "
            "WHERE a.application_name = 'gristmill-worker' AND a.wait_event_type = 'Lock' "
            "AND %s = ANY(pg_blocking_pids(a.pid)) "
            "AND l.relation = %s::regclass AND l.mode = 'RowExclusiveLock' AND l.granted",
            (by.info.backend_pid, table),
        )

    def waiting_for(self, table: str) -> list[dict[str, Any]]:
        """Backends of workers that wait for the lock of ``table`` itself: they have written nothing to it yet."""
        return self.system.query(
            "SELECT a.pid FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid "
            "WHERE a.application_name = 'gristmill-worker' AND l.relation = %s::regclass AND NOT l.granted",
            (table,),
        )

    def pause(self, name: str) -> None:
        """Stop a process and its children."""
        self._paused.update(self.system.pids(name))
        self.system.pause(name)

    def resume(self, name: str) -> None:
        self._paused.difference_update(self.system.pids(name))
        self.system.resume(name)

    def _resume_all(self) -> None:
        for pid in self._paused:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._paused.clear()


def wait_past(moment: float) -> None:
    """Sleep until ``time.monotonic()`` has passed ``moment``: for tests about time itself."""
    while (left := moment - time.monotonic()) > 0:
        time.sleep(left)


@contextlib.contextmanager
def own_stack(name: str) -> Iterator[FaultStack]:
    """A stack for one module, ended with it."""
    with open_folder() as folder:
        found = FaultStack(folder / name, WANTED)
        yield found
        found.close()
