"""Fixtures: real servers once per run, a database and a vhost for each test worker, a system of real processes.

The servers are started by the controlling process and named to the test workers; a run of unit tests starts none.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

from gristmill.core.database import Database
from gristmill.core.migrate import upgrade
from tests.support import own_jobs, plugin, transitions
from tests.support.servers import WANTED, add_database, add_vhosts, make_broker, start_postgres
from tests.support.system import System

settings.register_profile(
    "gristmill", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
settings.load_profile("gristmill")

# What the tests' own process logs. By default structlog draws each traceback, with colours and the values of all
# variables: more than a second's work.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback),
    ]
)

TEMPLATE = "gristmill_template"
_started: list[Any] = []


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput") or config.option.collectonly or not _needs_servers(config):
        return
    folder = Path(tempfile.mkdtemp(prefix="gristmill-test-"))
    folder.chmod(0o755)
    postgres = start_postgres(folder / "postgres")
    broker = make_broker(folder / "broker")
    _started.extend([postgres, broker, folder])
    broker.start()
    os.environ["GRISTMILL_TEST_POSTGRES"] = postgres.url
    os.environ["GRISTMILL_TEST_BROKER_URL"] = broker.url
    os.environ["GRISTMILL_TEST_BROKER_KIND"] = broker.name
    _make_template(postgres)
    workers = getattr(config.option, "numprocesses", None) or 0
    count = max(int(workers), 1)
    urls = add_vhosts(broker, *(f"test{number}" for number in range(2 * count)))
    for number in range(count):
        os.environ[f"GRISTMILL_TEST_BROKER_URL_{number}"] = urls[number]
        # For a second system, which shares nothing with the first.
        os.environ[f"GRISTMILL_TEST_BROKER_URL_{number}_OWN"] = urls[count + number]


def _needs_servers(config: pytest.Config) -> bool:
    return not all("unit" in Path(argument.split("::")[0]).parts for argument in config.args)


def _make_template(postgres: Any) -> None:
    url = add_database(postgres.url)
    upgrade(url)
    database = Database(url, "template")
    with database.transaction() as connection:
        connection.exec_driver_sql(plugin.EFFECTS)
        connection.exec_driver_sql(own_jobs.TABLE)
        for statement in transitions.TRIGGERS:
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = -1")
    database.close()
    os.environ["GRISTMILL_TEST_TEMPLATE"] = url.rsplit("/", 1)[1]


def pytest_unconfigure(config: pytest.Config) -> None:
    if _started:
        postgres, broker, folder = _started
        broker.kill()
        postgres.kill()
        shutil.rmtree(folder, ignore_errors=True)
        _started.clear()


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a case by its argument where its bytes are no short text: compressed ones hold the time of their making,
    and test workers that collect in different seconds would not agree on the names of the tests."""
    if isinstance(val, bytes | bytearray) and not (len(val) <= 60 and val.decode("latin-1").isprintable()):
        return argname
    return None


def pytest_report_header(config: pytest.Config) -> str:
    return f"broker wanted: {WANTED}, used: {os.environ.get('GRISTMILL_TEST_BROKER_KIND', 'none')}"


@pytest.fixture(scope="session")
def worker_number(request: pytest.FixtureRequest) -> int:
    return int(getattr(request.config, "workerinput", {}).get("workerid", "gw0").removeprefix("gw"))


@pytest.fixture
def database_url() -> str:
    """A fresh, migrated database for one test."""
    return add_database(os.environ["GRISTMILL_TEST_POSTGRES"], os.environ["GRISTMILL_TEST_TEMPLATE"])


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A connection pool on a fresh, migrated database."""
    found = Database(database_url, "test", pool=8)
    yield found
    found.close()


@pytest.fixture(scope="session")
def system(worker_number: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """The system that the tests of one worker share: API, dispatcher, both workers."""
    found = System(
        add_database(os.environ["GRISTMILL_TEST_POSTGRES"], os.environ["GRISTMILL_TEST_TEMPLATE"]),
        os.environ[f"GRISTMILL_TEST_BROKER_URL_{worker_number}"],
        tmp_path_factory.mktemp("system"),
        jobs_plugins="tests.support.plugin tests.support.own_jobs examples.daily_weather",
        jobs_resend_after=5,
        jobs_retry_base=0.05,
        dispatcher_poll=0.1,
    )
    found.start()
    yield found
    found.stop()


@pytest.fixture
def rabbitmq_only() -> None:
    """For tests whose fault only RabbitMQ can show."""
    if os.environ.get("GRISTMILL_TEST_BROKER_KIND") != "rabbitmq":
        pytest.skip("needs RabbitMQ; install rabbitmq-server")
