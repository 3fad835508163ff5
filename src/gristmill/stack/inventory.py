"""What a stack consists of: its servers, Gristmill's own processes, applications; and the settings that they have."""

from collections.abc import Callable

from gristmill.broker.queues import QUEUES
from gristmill.core.config import Settings
from gristmill.stack.applications import services_of
from gristmill.stack.layout import DataFolder, Memory
from gristmill.stack.postgres import PostgresServer
from gristmill.stack.rabbitmq import RabbitServer
from gristmill.stack.server import Server
from gristmill.stack.services import Service, application, with_flower_password
from gristmill.stack.valkey import ValkeyServer


class Inventory:
    """What runs under one data folder. asked: the settings of the command."""

    def __init__(self, asked: Settings, folder: DataFolder) -> None:
        self._asked = asked
        self.folder = folder

    def settings(self, memory: Memory) -> Settings:
        postgres, broker = self.servers(memory)
        changes = {
            "database_url": postgres.url,
            "broker_url": broker.url,
            "api_host": memory.api_host,
            "api_port": memory.ports["api"],
            "api_spool_dir": self._asked.api_spool_dir or str(self.folder.spool),
            "storage_url": self._asked.storage_url or str(self.folder.files),
            "images_url": self._asked.images_url or str(self.folder.images),
            "flower_port": memory.ports["flower"],
            "stack_data": str(self.folder.path),
        }
        return with_flower_password(self._asked.model_copy(update=changes), self.folder)

    def servers(self, memory: Memory) -> tuple[PostgresServer, Server]:
        # The broker closes the channel of a delivery that takes longer: above the longest task with its time to stop.
        timeout = max(queue.time_limit(self._asked) for queue in QUEUES) + 1800
        chosen = memory.ports
        postgres = PostgresServer(self.folder.postgres, chosen["postgres"])
        if memory.broker == "valkey":
            return postgres, ValkeyServer(self.folder.valkey, chosen["broker"])
        return postgres, RabbitServer(
            self.folder.rabbitmq, chosen["broker"], chosen["names"], chosen["node"], consumer_timeout=timeout
        )

    def services(self, memory: Memory) -> list[Service]:
        """Everything that runs, in the order of its start."""
        listed = []
        for server in self.servers(memory):
            *before, main = server.programs()
            listed += [Service(program) for program in before]
            address = f"127.0.0.1:{server.port}"
            listed.append(Service(main, address, _asking(server)))
        settings = self.settings(memory)
        return [*listed, *application(settings, self.folder), *services_of(memory.applications, settings, self.folder)]


def _asking(server: Server) -> Callable[[int], bool]:
    return lambda _pid: server.ready()
