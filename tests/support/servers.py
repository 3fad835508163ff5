"""Real servers for the tests: Postgres and a broker, with a database and a vhost for each test worker."""

import os
import random
import subprocess
import uuid
from dataclasses import replace
from pathlib import Path

import psycopg2

from gristmill.stack.postgres import PostgresServer
from gristmill.stack.program import Program
from gristmill.stack.rabbitmq import RabbitServer, server_script
from gristmill.stack.valkey import ValkeyServer

# auto: RabbitMQ where it is installed, else Valkey; rabbitmq: nothing else will do; valkey: the light one.
WANTED = os.environ.get("GRISTMILL_TEST_BROKER", "auto")
Broker = RabbitServer | ValkeyServer


def make_broker(folder: Path, kind: str = WANTED) -> Broker:
    """Return a broker, not started yet."""
    if kind == "valkey" or (kind == "auto" and server_script() is None):
        return ValkeyServer(folder)
    return _OnOneProcessor(folder)


class _OnOneProcessor(RabbitServer):
    """A node boots in half the time where its threads need not wake each other across processors (5 s, not 11)."""

    def programs(self) -> list[Program]:
        processor = random.choice(sorted(os.sched_getaffinity(0)))
        pinned = ("taskset", "--cpu-list", str(processor))
        return [replace(one, command=(*pinned, *one.command)) for one in super().programs()]


def add_vhost(broker: Broker, name: str) -> str:
    """Return a URL of the broker that nobody else uses."""
    if isinstance(broker, ValkeyServer):
        # Numbered databases are what Valkey has for vhosts: "test0" is number 1.
        return f"{broker.url.rsplit('/', 1)[0]}/{int(name.removeprefix('test')) + 1}"
    script = server_script()
    assert script is not None
    control = str(script.with_name("rabbitmqctl"))
    environment = {**os.environ, **broker._environment()}
    for command in (["add_vhost", name], ["set_permissions", "-p", name, "gristmill", ".*", ".*", ".*"]):
        subprocess.run([control, *command], env=environment, check=True, capture_output=True)
    return broker.url.rsplit("/", 1)[0].rstrip("/") + f"/{name}"


def add_database(postgres_url: str, template: str | None = None) -> str:
    """Create a database (a copy of ``template`` if given) and return its URL."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    connection = psycopg2.connect(postgres_url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        suffix = f' TEMPLATE "{template}"' if template else ""
        cursor.execute(f'CREATE DATABASE "{name}"{suffix}')
    connection.close()
    return postgres_url.rsplit("/", 1)[0] + f"/{name}"


def start_postgres(folder: Path) -> PostgresServer:
    server = PostgresServer(folder)
    server.start()
    return server
