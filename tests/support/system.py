"""A whole Gristmill of real processes on given servers: started, killed and looked at by tests."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg2
import psycopg2.extras

from gristmill.stack.ports import any_free
from tests.support.forked import Forked
from tests.support.freeze import freeze

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {
    "api": ["gristmill.api"],
    "dispatcher": ["gristmill.dispatcher"],
    "worker": ["gristmill.worker", "--queue", "default"],
    "long": ["gristmill.worker", "--queue", "long"],
    "runner": ["gristmill.source_runner"],
    "flower": ["gristmill.stack.flower"],
}
# What ``start`` without names starts.
_USUAL = ("api", "dispatcher", "worker", "long")
# How a process shows in the table of processes: (kind, queue).
_ROWS = {
    "dispatcher": ("dispatcher", None),
    "worker": ("worker", "default"),
    "long": ("worker", "long"),
    "runner": ("source_runner", None),
}


def _kind(name: str) -> str:
    return name.rstrip("0123456789")


def eventually(
    condition: Callable[[], Any], what: str | Callable[[], str], seconds: float = 30.0, every: float = 0.02
) -> Any:
    """Return the first true answer of ``condition``; fail, saying ``what``, after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what if isinstance(what, str) else what()}")
        time.sleep(every)


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        # Without the certificates of all authorities: to load them takes 30 ms.
        return bool(httpx.get(url, timeout=2, verify=False).is_success)
    return False


class System:
    """The processes of one installation. ``settings`` are given as in Settings, e.g. ``jobs_lease=5``."""

    def __init__(self, database_url: str, broker_url: str, folder: Path, **settings: Any) -> None:
        self.database_url = database_url
        self.broker_url = broker_url
        self.folder = folder
        self.port = any_free()
        self.settings = settings
        self.processes: dict[str, Forked] = {}
        self._kept = threading.local()
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self, **settings: Any) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GRISTMILL_")}
        given = {
            "database_url": self.database_url,
            "broker_url": self.broker_url,
            "api_port": self.port,
            "jobs_plugins": "tests.support.plugin tests.support.own_jobs",
            "config": str(self.folder / "none.ini"),
            **self.settings,
            **settings,
        }
        named = {f"GRISTMILL_{name.upper()}": str(value) for name, value in given.items()}
        return {
            **kept,
            **named,
            "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}",
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",
        }

    def start(self, *names: str, **settings: Any) -> "System":
        """Start processes (all four without names) and wait until each is ready.

        A digit after a name makes one more of the kind: "worker2". ``settings`` count for these processes only.
        """
        self.spawn(*(names or _USUAL), **settings)
        for name in names or _USUAL:
            self.wait_ready(name)
        return self

    def spawn(self, *names: str, **settings: Any) -> None:
        """Start processes without waiting for them."""
        for name in names:
            assert name not in self.processes, f"{name} runs already"
            command, log = COMMANDS[_kind(name)], self.folder / f"{name}.log"
            self.processes[name] = Forked(command, self.folder, self.environment(**settings), log)

    def wait_ready(self, name: str) -> None:
        """Wait until a process that was started can do its work."""
        eventually(lambda: self._is_ready(name), lambda: f"{name} is ready: {self.log(name)[-3000:]}", 60)

    def _is_ready(self, name: str) -> bool:
        process = self.processes[name]
        assert process.poll() is None, f"{name} ended with {process.returncode}: {self.log(name)[-3000:]}"
        if _kind(name) == "api":
            return _answers(f"{self.url}/healthz")
        if _kind(name) == "flower":
            return _answers(f"http://127.0.0.1:{self.settings['flower_port']}/healthcheck")
        kind, queue = _ROWS[_kind(name)]
        # By its own row: the pid stands at the end of the name.
        return bool(
            self.query(
                "SELECT 1 FROM gristmill.processes WHERE kind = %s AND queue IS NOT DISTINCT FROM %s AND name LIKE %s",
                (kind, queue, f"%:{process.pid}"),
            )
        )

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def pids(self, name: str) -> list[int]:
        """The process and all its descendants; none if it has ended by itself."""
        try:
            process = psutil.Process(self.processes[name].pid)
            return [process.pid, *(child.pid for child in process.children(recursive=True))]
        except psutil.NoSuchProcess:
            return []

    def kill(self, name: str) -> None:
        """SIGKILL the process and all its children at once."""
        for pid in self.pids(name):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.processes.pop(name).wait()

    def pause(self, name: str) -> None:
        """Stop the process and its children, until ``resume``."""
        freeze(*self.pids(name))

    def resume(self, name: str) -> None:
        for pid in self.pids(name):
            os.kill(pid, signal.SIGCONT)

    def terminate(self, name: str, seconds: float = 60) -> None:
        """SIGTERM, and wait for an orderly end."""
        process = self.processes.pop(name)
        process.terminate()
        process.wait(seconds)

    def stop(self) -> None:
        for name in list(self.processes):
            self.kill(name)
        self._forget_connection()

    @contextlib.contextmanager
    def connect(self) -> Iterator[Any]:
        """A psycopg2 connection with a transaction of its own, rolled back at the end."""
        connection = self._connection()
        try:
            yield connection
        finally:
            connection.close()

    def query(self, sql: str, parameters: Any = None) -> list[dict[str, Any]]:
        """Run one statement in a transaction of its own and return its rows.

        Each thread keeps its connection: a new one takes twenty times as long as what a test asks while it waits.
        """
        kept = getattr(self._kept, "connection", None)
        if kept is not None:
            try:
                return _run(kept, sql, parameters)
            except psycopg2.Error:
                if not kept.closed:
                    raise
                # Postgres was stopped since.
                self._forget_connection()
        self._kept.connection = self._connection()
        return _run(self._kept.connection, sql, parameters)

    def _connection(self) -> Any:
        return psycopg2.connect(self.database_url, cursor_factory=psycopg2.extras.RealDictCursor)

    def _forget_connection(self) -> None:
        kept = self._kept.__dict__.pop("connection", None)
        if kept is not None:
            kept.close()

    def http(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, **{"timeout": 60, "verify": False, **options})

    def job(self, job_id: str) -> dict[str, Any]:
        return self.query("SELECT * FROM gristmill.jobs WHERE id = %s", (job_id,))[0]

    def chunk(self, job_id: str, number: int = 0) -> dict[str, Any]:
        return self.query("SELECT * FROM gristmill.chunks WHERE job_id = %s AND number = %s", (job_id, number))[0]

    def finished(self, job_id: str, seconds: float = 60) -> dict[str, Any]:
        """Wait until the job has finished and return its row."""
        return eventually(
            lambda: (row := self.job(job_id))["finished_at"] and row, f"job {job_id} has finished", seconds
        )


def _run(connection: Any, sql: str, parameters: Any) -> list[dict[str, Any]]:
    # Ends with a commit, or with a rollback where it raises.
    with connection, connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return [dict(row) for row in cursor.fetchall()] if cursor.description else []
