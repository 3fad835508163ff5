"""Real servers for the tests: Postgres and a broker, with a database and a vhost for each test worker."""

import json
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

    # As long as a stack gives it: on a machine with much else to do a boot took more than a minute.
    start_seconds = 120

    def programs(self) -> list[Program]:
        processor = random.choice(sorted(os.sched_getaffinity(0)))
        pinned = ("taskset", "--cpu-list", str(processor))
        return [replace(one, command=(*pinned, *one.command)) for one in super().programs()]


def add_vhosts(broker: Broker, *names: str) -> list[str]:
    """Return URLs of the broker that nobody else uses, one for each name."""
    if isinstance(broker, ValkeyServer):
        # Numbered databases are what Valkey has for vhosts: "test0" is number 1.
        return [f"{broker.url.rsplit('/', 1)[0]}/{int(name.removeprefix('test')) + 1}" for name in names]
    script = server_script()
    assert script is not None
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    definitions = {
        "vhosts": [{"name": name} for name in names],
        "permissions": [{"user": "gristmill", "vhost": name, **everything} for name in names],
    }
    # One command for all of them: each starts an Erlang machine, which takes a second.
    command = [str(script.with_name("rabbitmqctl")), "import_definitions", "--format", "json"]
    environment = {**os.environ, **broker._environment()}
    subprocess.run(command, env=environment, input=json.dumps(definitions).encode(), check=True, capture_output=True)
    return [broker.url.rsplit("/", 1)[0].rstrip("/") + f"/{name}" for name in names]


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
    server.prepare()
    # An eighth of the machine is for indexes of millions of records. Here it fills with what a thousand databases were
    # copied from, and a run has two such servers.
    with (server.cluster / "postgresql.conf").open("a", encoding="ascii") as file:
        file.write("shared_buffers = '512MB'\n")
    server.start()
    return server
