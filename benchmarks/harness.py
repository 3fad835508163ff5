"""A whole stack of the bench's own, and what scenarios need to drive it and to look into it."""

import contextlib
import http.client
import os
import shutil
import tempfile
import time
import xmlrpc.client
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg2
from supervisor.xmlrpc import SupervisorTransport

from benchmarks import load
from benchmarks.as_client import Request
from benchmarks.corpus import Corpus
from benchmarks.peers import Peers
from gristmill.client import Client
from gristmill.core.config import Settings
from gristmill.stack import Stack

SMALL = {
    "name": "bench_small",
    "fields": [
        {"name": "id", "type": "text", "required": True, "max_length": 64},
        {"name": "at", "type": "timestamp", "required": True},
        {"name": "value", "type": "float"},
        {"name": "note", "type": "text"},
    ],
    "key": ["id"],
    "time_field": "at",
}
_QUIET_SECONDS = 2.0


def cache_folder() -> Path:
    """Return where texts with vectors, and the environment of the peers, are kept unless another place is named."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "gristmill-bench"


# The label of jobs whose failure is what is measured.
MAY_FAIL = "may_fail"


class Bench:
    """The stack that is measured: RabbitMQ demanded, Flower on, default settings, data in a temporary folder.

    quick: small sizes, to see that everything runs; such figures mean nothing.
    say: called with each line about the progress.
    cache: where texts with vectors, and the environment of the peers, are kept from run to run.
    brief: shorter, and without peers, for it is one of two versions that are measured in turn.
    asked: sizes that are not the scenarios' own: ``load_2m`` rows, ``seal_seconds``.
    chosen: the same of ``search_recall``, which has several: ``recall_rows``, ``chroma_rows``.
    plugins: modules with job types that the stack loads.
    """

    def __init__(
        self,
        quick: bool,
        say: Callable[[str], None],
        parent: Path | None = None,
        cache: Path | None = None,
        asked: dict[str, int] | None = None,
        brief: bool = False,
        plugins: str = "",
        chosen: dict[str, list[int]] | None = None,
    ) -> None:
        self.quick = quick
        self.brief = brief
        self.say = say
        self.cache = cache or cache_folder()
        self.asked = asked or {}
        self.chosen = chosen or {}
        self.folder = Path(tempfile.mkdtemp(prefix="gristmill-bench-", dir=parent))
        self.folder.chmod(0o755)  # root's Postgres runs as a system user, who must be able to enter
        self.settings = Settings(
            stack_data=str(self.folder / "data"),
            stack_broker="rabbitmq",
            api_port=0,
            flower_port=0,
            jobs_plugins=plugins,
            images_url=str(self.folder / "images"),
        )
        self.stack = Stack(self.settings, say)
        self._small_exists = False

    def up(self) -> None:
        """Start what does not run, and wait until all of it answers."""
        self.stack.up()
        self.settings = self.stack.settings()
        self.client = Client(self.url("api"), timeout=600)

    def close(self) -> None:
        """Stop everything and delete its data."""
        self.stack.down()
        shutil.rmtree(self.folder, ignore_errors=True)

    def size(self, full: int, quick: int, brief: int | None = None) -> int:
        if self.quick:
            return quick
        return brief if self.brief and brief is not None else full

    @cached_property
    def corpus(self) -> Corpus:
        """Return the rows with vectors; made at the first use, kept for the next run."""
        self.cache.mkdir(parents=True, exist_ok=True)
        return Corpus(self.cache, self.say)

    @cached_property
    def peers(self) -> Peers:
        """Return the environment of the peers; installed at the first use, kept for the next run."""
        self.cache.mkdir(parents=True, exist_ok=True)
        return Peers(self.cache, self.say)

    @contextlib.contextmanager
    def only_postgres(self) -> Iterator[None]:
        """Stop everything but Postgres and the broker, which idles, so that what is compared has the machine."""
        for name in ("flower", "api", "dispatcher", "worker", "worker-long", "source-runner"):
            self.stop_service("app", name)
        try:
            yield
        finally:
            self.up()

    def fresh_database(self, name: str) -> str:
        """Return the URL of an empty database with pgvector, on the same server with the same settings."""
        self.rows(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self.rows(f"CREATE DATABASE {name}")
        url = f"{self.settings.database_url.rsplit('/', 1)[0]}/{name}"
        with contextlib.closing(psycopg2.connect(url)) as connection:
            connection.autocommit = True
            connection.cursor().execute("CREATE EXTENSION vector")
        return url

    def url(self, service: str) -> str:
        found = self.stack.status().url(service)
        assert found is not None
        return found

    def pids(self) -> dict[str, int]:
        """Return the process of each service, and of their supervisor."""
        found = {service.name: service.pid for service in self.stack.status().services if service.pid is not None}
        return {**found, "supervisor": int((self.stack.folder.run / "supervisor.pid").read_text())}

    def changed_settings(self) -> str:
        """Return the settings that are not the defaults, ports and paths aside."""
        own = {"database_url", "broker_url", "api_port", "api_spool_dir", "flower_port", "flower_password"}
        own |= {"stack_data", "stack_broker", "images_url"}
        changed = [
            f"{name}={getattr(self.settings, name)}"
            for name, field in Settings.model_fields.items()
            if name not in own and getattr(self.settings, name) != field.default
        ]
        return ", ".join(changed) or "none"

    def small_dataset(self) -> str:
        """Return the name of a dataset of small records without embedding; it is made at the first call."""
        name = str(SMALL["name"])
        if not self._small_exists:
            self.client.create_dataset(SMALL, wait=True)
            self._small_exists = True
        return name

    def small_record(self, number: int | str) -> dict[str, Any]:
        return {"id": f"record-{number}", "at": "2026-01-01T00:00:00.123456Z", "value": 21.5, "note": "a small record"}

    def post(self, path: str, bodies: list[str], **plan: Any) -> load.Answers:
        """Send requests below /api/v1; see ``load.Plan``."""
        return load.drive(load.Plan(self.settings.api_port, f"/api/v1{path}", bodies, **plan))

    def send(self, request: Request, **plan: Any) -> load.Answers:
        """Send a request of the client again and again; see ``load.Plan``."""
        return load.drive(load.Plan(self.settings.api_port, **request.plan(), **plan))

    @contextlib.contextmanager
    def connect(self) -> Iterator[Any]:
        """Give a psycopg2 connection of the bench's own, in autocommit mode."""
        connection = psycopg2.connect(self.settings.database_url, application_name="benchmarks")
        connection.autocommit = True
        try:
            yield connection
        finally:
            connection.close()

    def rows(self, sql: str, parameters: Any = None) -> list[Any]:
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def row(self, sql: str, parameters: Any = None) -> Any:
        return self.rows(sql, parameters)[0]

    def reset_statements(self) -> None:
        """Let Postgres count anew what its statements cost; read ``pg_stat_statements`` afterwards."""
        self.rows("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        self.rows("SELECT pg_stat_statements_reset()")

    def drop(self, dataset: str) -> None:
        """Drop a dataset and wait until it is gone, its index builds too."""
        self.client.drop_dataset(dataset, wait=True)
        self.wait_idle()

    def stop_service(self, group: str, name: str) -> None:
        """Stop one service in order; ``up`` starts it again."""
        memory = self.stack.folder.remembered()
        assert memory is not None
        transport = SupervisorTransport(None, None, f"unix://{memory.socket}")
        with contextlib.closing(transport):
            proxy = xmlrpc.client.ServerProxy("http://localhost", transport=transport)
            try:
                proxy.supervisor.stopProcess(f"{group}:{name}")
            except http.client.HTTPException as error:
                raise RuntimeError(f"the supervisor did not stop {name}: {error!r}") from error

    def wait_idle(self, seconds: float = 900) -> float:
        """Wait until no job is unfinished, and two seconds more; return the seconds until the last job ended.

        Raises RuntimeError if one failed that has no label MAY_FAIL, or if they do not end within ``seconds``.
        """
        began = time.monotonic()
        while self.row("SELECT count(*) FROM gristmill.jobs WHERE finished_at IS NULL")[0]:
            if time.monotonic() - began > seconds:
                raise RuntimeError(f"jobs are unfinished after {seconds:g} s")
            time.sleep(0.1)
        took = time.monotonic() - began
        failed = self.rows(
            "SELECT id, type, state, error ->> 'detail' FROM gristmill.jobs WHERE state = 'failed'"
            f" AND NOT labels ? '{MAY_FAIL}' LIMIT 3"
        )
        if failed:
            raise RuntimeError(f"jobs failed: {failed}")
        time.sleep(_QUIET_SECONDS)
        return took
