"""The read-only role: it reads the tables of datasets, those of later ones too, and may do nothing else."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg2
import pytest
from psycopg2 import errors
from sqlalchemy import make_url
from tests.support.in_process import InProcess
from typer.testing import CliRunner

from gristmill.access.readers import read_only_url, reader_of
from gristmill.cli.main import app as command_line
from gristmill.core.database import Database
from gristmill.core.errors import Forbidden

ONE: dict[str, Any] = {
    "fields": [{"name": "id", "type": "integer", "required": True}],
    "key": ["id"],
    "embedding": {"dimensions": 2},
}
Ask = Callable[..., list[Any]]


@pytest.fixture
def app(fresh_app: InProcess) -> InProcess:
    """They lose what it stands on."""
    return fresh_app


@pytest.fixture
def ask(app: InProcess) -> Iterator[Ask]:
    """Runs statements as the reader."""
    connection = psycopg2.connect(read_only_url(app.gristmill.database))
    connection.autocommit = True

    def run(sql: str) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []

    yield run
    connection.close()


def record(number: int) -> dict[str, Any]:
    return {"id": number, "_embedding": [1, number]}


def test_it_reads_tables_of_before_and_of_later_whatever_becomes_of_them(app: InProcess, ask: Ask) -> None:
    later = app.dataset(ONE)
    app.job(app.post(later, [record(1), record(2)]))
    # Without its schema, and with the operators of vectors.
    assert ask(f"SELECT id FROM {later} ORDER BY _embedding <-> '[1,2]'") == [(2,), (1,)]
    app.job(app.http.post(f"/api/v1/datasets/{later}/rename", json={"name": "renamed"}))
    app.job(app.http.patch("/api/v1/datasets/renamed", json={"add_fields": [{"name": "more", "type": "text"}]}))
    assert ask("SELECT id, more FROM data.renamed ORDER BY id") == [(1, None), (2, None)]


def test_it_reads_tables_that_were_there(app: InProcess) -> None:
    name = app.dataset(ONE)
    app.job(app.post(name, [record(1)]))
    with psycopg2.connect(read_only_url(app.gristmill.database)) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT id FROM {name}")
        assert cursor.fetchall() == [(1,)]
    connection.close()


def test_it_may_do_nothing_else(app: InProcess, ask: Ask) -> None:
    name = app.dataset(ONE)
    app.job(app.post(name, [record(1)]))
    with pytest.raises(errors.ReadOnlySqlTransaction):
        ask(f"DELETE FROM {name}")
    # It may say that it writes: it has no right to all the same.
    ask("SET default_transaction_read_only = off")
    for statement in (
        f"DELETE FROM {name}",
        f"INSERT INTO {name} (id, _seq, _ord) VALUES (2, 1, 1)",
        f"TRUNCATE {name}",
        f"DROP TABLE {name}",
        "CREATE TABLE data.mine (a int)",
        "CREATE TABLE public.mine (a int)",
        "SELECT * FROM gristmill.jobs",
        "SELECT * FROM gristmill.payloads",
        "SELECT * FROM gristmill.api_keys",
        "CREATE ROLE other",
    ):
        with pytest.raises(errors.InsufficientPrivilege):
            ask(statement)
    assert ask(f"SELECT count(*) FROM {name}") == [(1,)]


def test_the_same_url_comes_each_time_and_at_once_too(app: InProcess) -> None:
    with ThreadPoolExecutor(4) as pool:
        urls = set(pool.map(lambda _: read_only_url(app.gristmill.database), range(8)))
    (url,) = urls
    found = make_url(url)
    assert found.username == reader_of(app.gristmill.database.url)
    assert found.password != app.gristmill.database.url.password
    assert found.password is not None
    assert len(found.password) == 48


def test_a_user_that_may_make_no_roles_is_told_what_an_administrator_has_to_run(app: InProcess) -> None:
    url = app.gristmill.database.url
    name = f"{url.database}_owner"
    with app.gristmill.database.transaction() as connection:
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    limited = Database(url.set(username=name, password="x").render_as_string(hide_password=False), "limited", pool=1)
    with pytest.raises(Forbidden) as caught:
        read_only_url(limited)
    limited.close()
    statements = [line for line in caught.value.detail.splitlines() if line.split()[0] in ("CREATE", "ALTER", "GRANT")]
    assert len(statements) == 9
    with app.gristmill.database.transaction() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql(f"DROP OWNED BY {name}; DROP OWNED BY {reader_of(url)}; DROP ROLE {name}")


def test_the_command_prints_the_url_alone(
    app: InProcess, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    url = app.gristmill.settings.database_url
    monkeypatch.setenv("GRISTMILL_DATABASE_URL", url)
    monkeypatch.setenv("GRISTMILL_STACK_DATA", str(tmp_path_factory.mktemp("empty")))
    runner = CliRunner()
    assert runner.invoke(command_line, ["sql-url"]).stdout == f"{url}\n"
    read_only = runner.invoke(command_line, ["sql-url", "--read-only"]).stdout
    assert read_only == f"{read_only_url(app.gristmill.database)}\n"
