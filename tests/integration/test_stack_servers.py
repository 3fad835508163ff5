"""One conformance suite for the three servers that a stack runs, and what each adds."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest
from tests.support.folders import open_folder
from tests.support.freeze import freeze

from gristmill.stack import PostgresServer, RabbitServer, StackFailed, ValkeyServer
from gristmill.stack.processes import is_alive
from gristmill.stack.rabbitmq import server_script
from gristmill.stack.server import Server

KINDS = {"postgres": PostgresServer, "rabbitmq": RabbitServer, "valkey": ValkeyServer}


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as path:
        yield path


@pytest.fixture(params=list(KINDS))
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    if request.param == "rabbitmq" and server_script() is None:
        pytest.skip("RabbitMQ is not installed")
    with open_folder() as folder:
        found: Server = KINDS[request.param](folder / request.param)
        yield found
        found.kill()


def family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


class TestServer:
    def test_it_answers_survives_a_kill_and_leaves_nothing_after_stop(self, server: Server) -> None:
        server.start()
        assert server.ready()
        first = server.pid
        server.kill()
        assert not server.ready()
        server.start()
        assert server.ready()
        assert server.pid != first
        everything = family(server.pid)
        server.stop()
        assert not server.ready()
        assert [process for process in everything if is_alive(process)] == []

    def test_it_outlives_the_thread_that_started_it(self, server: Server) -> None:
        thread = threading.Thread(target=server.start)
        thread.start()
        thread.join()
        assert server.ready()
        assert is_alive(psutil.Process(server.pid))

    def test_a_start_that_fails_quotes_the_log(self, server: Server) -> None:
        if isinstance(server, RabbitServer):
            pytest.skip("a node looks at its port last: the same code, but a quarter of a minute")
        other = type(server)(server.data_dir.with_name("other"), server.port)  # type: ignore[call-arg]
        server.start()
        # Only the log may explain: the port answers, but the process that should hold it has ended.
        other.ready = lambda: False  # type: ignore[method-assign]
        with pytest.raises(StackFailed, match="Its log"):
            other.start()
        assert server.ready()


class TestPostgres:
    @pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user runs it as itself")
    def test_root_runs_it_as_a_user_whose_group_has_another_name(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A user that another stack makes at this moment has a group without a name yet.
        monkeypatch.setattr("gristmill.stack.postgres.SYSTEM_USER", "nobody")
        server = PostgresServer(folder / "postgres")
        server.start()
        try:
            assert psutil.Process(server.pid).username() == "nobody"
            assert server.ready()
        finally:
            server.kill()

    def test_what_was_committed_is_on_disk(self, folder: Path) -> None:
        server = PostgresServer(folder / "postgres")
        server.start()
        try:
            connection = psycopg2.connect(server.url)
            with connection, connection.cursor() as cursor:
                for name in ("fsync", "full_page_writes", "synchronous_commit"):
                    cursor.execute(f"SHOW {name}")
                    assert cursor.fetchone() == ("on",)
                cursor.execute(
                    "CREATE EXTENSION vector; CREATE EXTENSION pg_stat_statements; CREATE TABLE t AS SELECT 1 a"
                )
            connection.close()
            server.kill()
            server.start()
            connection = psycopg2.connect(server.url)
            with connection, connection.cursor() as cursor:
                cursor.execute("SELECT a FROM t")
                assert cursor.fetchone() == (1,)
            connection.close()
            with pytest.raises(psycopg2.OperationalError, match="password"):
                psycopg2.connect(server.url.replace(server.url.split(":")[2].split("@")[0], "guessed"))
        finally:
            server.kill()

    def test_a_killed_one_starts_again_while_a_backend_is_busy(self, folder: Path) -> None:
        """The backend does not notice that its postmaster is gone, and holds the shared memory."""
        server = PostgresServer(folder / "postgres")
        server.start()
        try:
            connection = psycopg2.connect(server.url)
            backend = psutil.Process(connection.info.backend_pid)
            # A backend that is stopped is like one deep in a long statement: it looks at nothing.
            freeze(backend.pid)
            server.kill()
            assert is_alive(backend)
            server.start()
            assert server.ready()
            assert not is_alive(backend)
            assert "pre-existing shared memory block" not in server.log.read_text()
        finally:
            server.kill()

    def test_a_living_one_is_not_touched_by_a_second_start(self, folder: Path) -> None:
        server = PostgresServer(folder / "postgres")
        server.start()
        try:
            connection = psycopg2.connect(server.url)
            second = PostgresServer(folder / "postgres")
            second.prepare = lambda: None  # type: ignore[method-assign]
            second.ready = lambda: False  # type: ignore[method-assign]
            with pytest.raises(StackFailed, match=r"postmaster\.pid"):
                second.start()
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
                assert cursor.fetchone() == (1,)
        finally:
            server.kill()


@pytest.mark.skipif(server_script() is None, reason="RabbitMQ is not installed")
class TestRabbit:
    def test_a_wiped_broker_comes_back_empty_with_the_same_address(self, tmp_path: Path) -> None:
        server = RabbitServer(tmp_path)
        server.start()
        try:
            url = server.url
            server.control("add_vhost", "things")
            server.stop()
            server.wipe()
            server.start()
            assert server.url == url
            assert "things" not in server.control("list_vhosts")
        finally:
            server.kill()
