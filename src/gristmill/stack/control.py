"""The stack of one machine: up, down, status."""

import contextlib
import signal
import time
from collections.abc import Callable

from gristmill.broker.queues import QUEUES
from gristmill.core.config import Settings
from gristmill.stack import ports, processes, rabbitmq
from gristmill.stack.errors import StackFailed
from gristmill.stack.layout import BrokerKind, DataFolder, Memory
from gristmill.stack.postgres import PostgresServer
from gristmill.stack.program import Program
from gristmill.stack.rabbitmq import RabbitServer
from gristmill.stack.report import ServiceStatus, StackStatus
from gristmill.stack.server import Server, tail
from gristmill.stack.services import Service, application, with_flower_password
from gristmill.stack.supervisor import Supervisor
from gristmill.stack.valkey import ValkeyServer

_STATES = {
    "RUNNING": "running",
    "STARTING": "starting",
    "BACKOFF": "starting",
    "STOPPING": "stopping",
    "FATAL": "failed",
    "UNKNOWN": "failed",
}
_START_SECONDS = 120
# A child that had to be started more often while it was waited for will not come up.
_ATTEMPTS = 4


class Stack:
    """Postgres, a broker and Gristmill's processes under one data folder, ``settings.stack_data``.

    say: called with each line worth telling while the stack starts or stops.
    """

    def __init__(self, settings: Settings, say: Callable[[str], None] = lambda line: None) -> None:
        self.folder = DataFolder(settings.stack_data)
        self._asked = settings
        self._say = say
        self._notes: list[str] = []

    def up(self) -> StackStatus:
        """Start what does not run, wait until everything answers; at once when all of it does.

        Raises StackFailed naming the service that did not come up and quoting its log; everything is stopped then.
        """
        self.folder.create()
        with self.folder.locked():
            memory = self.folder.remembered()
            supervisor = self._supervisor(memory) if memory else None
            fresh = memory is None or supervisor is None or not supervisor.alive()
            if fresh:
                if memory:
                    # Before the ports are looked at: leftovers still hold them.
                    self._end_leftovers(memory)
                memory = self._plan(memory)
                supervisor = self._supervisor(memory)
            assert memory is not None
            assert supervisor is not None
            try:
                self._start(supervisor, memory, fresh)
            except BaseException:
                # Half a stack helps nobody, and a Ctrl-C in here must not leave one.
                self._stop(supervisor, memory)
                raise
        return self.status()

    def down(self) -> None:
        """Stop everything: workers finish or give back their work, the broker and Postgres close in order."""
        memory = self.folder.remembered()
        if memory is None:
            return
        with self.folder.locked():
            self._stop(self._supervisor(memory), memory)

    def foreground(self, started: Callable[[StackStatus], None]) -> None:
        """Start everything, call ``started``, stay while it runs; Ctrl-C or SIGTERM at any moment stops all of it."""
        previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            started(self.up())
            memory = self.folder.remembered()
            while memory and self._supervisor(memory).alive():
                time.sleep(1)
        except KeyboardInterrupt:
            # A second Ctrl-C must not interrupt the stop.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            self.down()
        finally:
            signal.signal(signal.SIGTERM, previous)
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def status(self) -> StackStatus:
        """Ask the supervisor and each service that can be asked."""
        memory = self.folder.remembered()
        if memory is None:
            return StackStatus(str(self.folder.path), [], ["Nothing was started here yet."])
        states = self._supervisor(memory).states()
        found = [self._describe(service, states) for service in self._services(memory)]
        return StackStatus(str(self.folder.path), found, list(self._notes))

    def settings(self) -> Settings:
        """Return the settings that the children have: with the private Postgres' and broker's URLs and real ports.

        Raises StackFailed before the first ``up``.
        """
        memory = self.folder.remembered()
        if memory is None:
            raise StackFailed(f"No stack was started in {self.folder.path}")
        return self._settings(memory)

    def _describe(self, service: Service, states: dict[str, dict[str, object]]) -> ServiceStatus:
        name = service.program.name
        info = states.get(name, {})
        state = _STATES.get(str(info.get("statename", "")), "stopped")
        running = state == "running"
        pid = int(str(info["pid"])) if running else 0
        return ServiceStatus(
            name=name,
            state=state,
            ready=running and (service.ready is None or service.ready(pid)),
            pid=pid or None,
            uptime=float(str(info["now"])) - float(str(info["start"])) if running else None,
            url=service.url,
            log=str(self.folder.log(name)),
        )

    def _plan(self, before: Memory | None) -> Memory:
        """Choose broker and ports: those of last time where the configuration is the same and they are free."""
        memory = before or Memory()
        memory.broker = self._choose_broker()
        memory.api_host = self._asked.api_host
        fields = Settings.model_fields
        wanted = {
            "postgres": ("stack_postgres_port", self._asked.stack_postgres_port),
            "broker": ("stack_broker_port", self._asked.stack_broker_port),
            "api": ("api_port", self._asked.api_port),
            "flower": ("flower_port", self._asked.flower_port),
        }
        for service, (name, configured) in wanted.items():
            last = memory.ports.get(service) if memory.asked.get(service) == configured else None
            host = memory.api_host if service == "api" else "127.0.0.1"
            port = ports.choose(name, configured, fields[name].default, last, host)
            if configured not in (0, port):
                self._note(f"{service}: port {configured} is taken, listening on {port} instead")
            memory.ports[service], memory.asked[service] = port, configured
        for service in ("names", "node"):
            memory.ports[service] = ports.choose(service, 0, 0, memory.ports.get(service))
        self.folder.remember(memory)
        return memory

    def _choose_broker(self) -> BrokerKind:
        wanted = self._asked.stack_broker
        if wanted == "rabbitmq" or (wanted == "auto" and rabbitmq.server_script()):
            self._note(f"broker: a private RabbitMQ {rabbitmq.version()} node")
            return "rabbitmq"
        because = "as configured" if wanted == "valkey" else "because rabbitmq-server is not installed"
        self._note(f"broker: Valkey, {because}")
        return "valkey"

    def _settings(self, memory: Memory) -> Settings:
        postgres, broker = self._servers(memory)
        changes = {
            "database_url": postgres.url,
            "broker_url": broker.url,
            "api_host": memory.api_host,
            "api_port": memory.ports["api"],
            "api_spool_dir": self._asked.api_spool_dir or str(self.folder.spool),
            "flower_port": memory.ports["flower"],
            "stack_data": str(self.folder.path),
        }
        return with_flower_password(self._asked.model_copy(update=changes), self.folder)

    def _servers(self, memory: Memory) -> tuple[PostgresServer, Server]:
        # The broker closes the channel of a delivery that takes longer: above the longest task with its time to stop.
        timeout = max(queue.time_limit(self._asked) for queue in QUEUES) + 1800
        chosen = memory.ports
        postgres = PostgresServer(self.folder.postgres, chosen["postgres"])
        if memory.broker == "valkey":
            return postgres, ValkeyServer(self.folder.valkey, chosen["broker"])
        return postgres, RabbitServer(
            self.folder.rabbitmq, chosen["broker"], chosen["names"], chosen["node"], consumer_timeout=timeout
        )

    def _services(self, memory: Memory) -> list[Service]:
        """Everything that runs, in the order of its start."""
        listed = []
        for server in self._servers(memory):
            *before, main = server.programs()
            listed += [Service(program) for program in before]
            address = f"127.0.0.1:{server.port}"
            listed.append(Service(main, address, _asking(server)))
        return listed + application(self._settings(memory), self.folder)

    def _start(self, supervisor: Supervisor, memory: Memory, fresh: bool) -> None:
        postgres, broker = self._servers(memory)
        services = self._services(memory)
        base = [service for service in services if service.program.group != "app"]
        if fresh:
            postgres.prepare()
            broker.prepare()
            supervisor.configure([service.program for service in services])
            supervisor.start()
        for service in base:
            supervisor.launch(service.program)
        self._await(supervisor, [service for service in base if service.program.name == postgres.name])
        if fresh:
            postgres.ensure_database()
            self._migrate(postgres.url)
        for service in services:
            # The API needs no broker: it starts while the broker does.
            if service.program.name == "api":
                supervisor.launch(service.program)
        self._await(supervisor, base)
        for service in services:
            supervisor.launch(service.program)
        self._await(supervisor, services)

    def _migrate(self, url: str) -> None:
        # Imported here: Alembic and all tables are only needed when a stack starts.
        from gristmill.core.migrate import upgrade  # noqa: PLC0415

        upgrade(url)

    def _await(self, supervisor: Supervisor, services: list[Service]) -> None:
        for service in services:
            self._await_one(supervisor, service)

    def _await_one(self, supervisor: Supervisor, service: Service) -> None:
        name = service.program.name
        attempts: set[object] = set()

        def settled() -> bool:
            states = supervisor.states()
            found = self._describe(service, states)
            attempts.add(states.get(name, {}).get("pid") or None)
            if len(attempts - {None}) > _ATTEMPTS or found.state == "failed":
                raise StackFailed(f"{name} ends again and again")
            return found.ready

        try:
            processes.wait_until(settled, _START_SECONDS, f"{name} does not become ready")
        except StackFailed as error:
            log = self.folder.log(name)
            raise StackFailed(f"{error.detail}. Its log, {log}, ends:\n{tail(log)}") from error

    def _stop(self, supervisor: Supervisor, memory: Memory) -> None:
        longest = dict.fromkeys(("data", "names", "broker", "app"), 10.0)
        for service in self._services(memory):
            program: Program = service.program
            longest[program.group] = max(longest[program.group], program.stop_seconds)
        with contextlib.suppress(StackFailed):
            supervisor.shutdown(sum(longest.values()) + 10)
        self._end_leftovers(memory)
        supervisor.socket.unlink(missing_ok=True)

    def _end_leftovers(self, memory: Memory) -> None:
        """End processes of this stack that no supervisor looks after any more, the servers last."""
        leftovers = processes.marked(memory.id, but_not="postgres")
        if leftovers:
            self._say(f"ending {len(leftovers)} processes that were left over")
        processes.end(leftovers, signal.SIGTERM, 15)
        for server in reversed(self._servers(memory)):
            server.end_leftover()

    def _supervisor(self, memory: Memory) -> Supervisor:
        return Supervisor(self.folder, memory.socket, memory.id)

    def _note(self, line: str) -> None:
        self._notes.append(line)
        self._say(line)


def _asking(server: Server) -> Callable[[int], bool]:
    return lambda _pid: server.ready()
