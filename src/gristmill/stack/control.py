"""The stack of one machine: up, down, status."""

import contextlib
import signal
import time
from collections.abc import Callable
from functools import partial

from gristmill.core.config import Settings
from gristmill.stack import processes
from gristmill.stack.asking import ask_all
from gristmill.stack.errors import StackFailed, StillStarting
from gristmill.stack.inventory import Inventory
from gristmill.stack.layout import DataFolder, Memory
from gristmill.stack.place import at_its_place, left_place
from gristmill.stack.plan import make_plan
from gristmill.stack.program import Program
from gristmill.stack.report import ServiceStatus, StackStatus, States, answers, describe
from gristmill.stack.services import Service, keep_flower_password
from gristmill.stack.supervisor import Supervisor
from gristmill.stack.waiting import await_services

# ``status`` waits so long for the supervisor and for all services; where the one takes all of it, half as long again.
_ANSWER_SECONDS = 1.0
# What has just been waited for answers more slowly than that while a busy machine starts the rest.
_STARTED_SECONDS = 10.0
# Processes whose supervisor is gone have their database and broker no longer either: there is nothing to finish.
_LEFTOVER_SECONDS = 1.0
# What small jobs need starts while the broker boots; the rest must not take the processors from it.
_FIRST = ("api", "dispatcher", "worker")


class Stack:
    """Postgres, a broker and Gristmill's processes under one data folder, ``settings.stack_data``.

    say: called with each line worth telling while the stack starts or stops.
    """

    def __init__(self, settings: Settings, say: Callable[[str], None] = lambda line: None) -> None:
        self.folder = DataFolder(settings.stack_data)
        self._asked = settings
        self._inventory = Inventory(settings, self.folder)
        self._say = say
        self._notes: list[str] = []

    def up(self) -> StackStatus:
        """Start what does not run, wait until everything answers; at once when all of it does.

        A service that is late is named in the notes and goes on starting, and nothing else is stopped for it. Raises
        StillStarting if that is Postgres, which the others need. Raises StackFailed naming a service that ends again
        and again, with its log; everything is stopped then, unless it ran before.
        """
        self.folder.create()
        with self.folder.locked():
            memory = self.folder.remembered()
            supervisor = self._supervisor(memory) if memory else None
            if memory and supervisor and left_place(self.folder, memory):
                self._say(f"stopping what was started in {memory.place}, before this folder was moved")
                self._stop(supervisor, memory)
            if memory and supervisor and supervisor.stopping():
                self._say("waiting until what ran before has stopped")
                supervisor.await_end(self._stop_seconds(memory))
            fresh = memory is None or supervisor is None or not supervisor.alive()
            if fresh:
                if memory:
                    # Before the ports are looked at: leftovers still hold them.
                    self._end_leftovers(memory)
                memory = make_plan(self._asked, memory, self._note)
                self.folder.remember(memory)
                supervisor = self._supervisor(memory)
            assert memory is not None
            assert supervisor is not None
            try:
                self._start(supervisor, memory, fresh)
            except StillStarting:
                raise
            except BaseException:
                # Half a stack helps nobody, and a Ctrl-C in here must not leave one; what has served before goes on.
                if fresh:
                    self._stop(supervisor, memory)
                raise
        return self.status(_STARTED_SECONDS)

    def down(self) -> None:
        """Stop everything: workers finish or give back their work, the broker and Postgres close in order."""
        memory = self.folder.remembered()
        if memory is None:
            return
        with self.folder.locked():
            self._stop(self._supervisor(memory), memory)

    def foreground(self, started: Callable[[StackStatus], None]) -> None:
        """Start everything, call ``started``, stay until it is stopped; Ctrl-C or SIGTERM at any moment does that."""
        previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            started(self._up_at_last())
            while self._stays():
                time.sleep(1)
        except KeyboardInterrupt:
            # A second Ctrl-C must not interrupt the stop.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            self.down()
        finally:
            signal.signal(signal.SIGTERM, previous)
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _stays(self) -> bool:
        """True unless the stack was stopped. A supervisor that was killed leaves its socket: all is started again."""
        memory = self.folder.remembered()
        if memory is None:
            return False
        supervisor = self._supervisor(memory)
        if supervisor.stopping():
            # Somebody stops it: this command has nothing to stay for.
            supervisor.await_end(self._stop_seconds(memory))
            return False
        if not supervisor.alive():
            if not supervisor.socket.exists():
                return False
            self._say("the supervisor was killed, starting everything again")
            self._up_at_last()
        return True

    def _up_at_last(self) -> StackStatus:
        while True:
            try:
                return self.up()
            except StillStarting as error:
                # A Postgres that recovers from a crash may take its time; who stays in the foreground waits for it.
                self._say(error.detail)

    def status(self, seconds: float = _ANSWER_SECONDS) -> StackStatus:
        """Ask the supervisor, and then all services at once; the notes name those that take longer than ``seconds``."""
        memory = self.folder.remembered()
        if memory is None:
            return StackStatus(str(self.folder.path), [], ["Nothing was started here yet."])
        services = {service.program.name: service for service in self._inventory.services(memory)}
        began = time.monotonic()
        asked = ask_all({"supervisor": self._supervisor(memory).states}, seconds)
        states = asked.get("supervisor", {})
        questions = {name: partial(answers, service, states) for name, service in services.items()}
        answered = ask_all(questions, max(seconds / 2, began + seconds - time.monotonic()))
        # Only one that has answered is asked again: a frozen one would hold this up.
        stopping = bool(asked) and not states and self._supervisor(memory).stopping()
        late = [] if asked else ["supervisor"]
        late += [name for name in services if name not in answered]
        notes = [f"{name}: no answer within {seconds:g} s" for name in late]
        notes += ["The stack is being stopped."] if stopping else []
        moved = left_place(self.folder, memory)
        notes += (
            [f"What runs was started in {moved}, before this folder was moved: gristmill up starts it here."]
            if moved
            else []
        )
        found = [self._describe(one, states, answered.get(name, False)) for name, one in services.items()]
        return StackStatus(str(self.folder.path), found, [*self._notes, *notes])

    def settings(self) -> Settings:
        """Return the settings that the children have: with the private Postgres' and broker's URLs and real ports.

        Raises StackFailed before the first ``up``.
        """
        memory = self.folder.remembered()
        if memory is None:
            raise StackFailed(f"No stack was started in {self.folder.path}")
        return self._inventory.settings(memory)

    def _describe(self, service: Service, states: States, ready: bool) -> ServiceStatus:
        return describe(service, states, ready, str(self.folder.log(service.program.name)))

    def _start(self, supervisor: Supervisor, memory: Memory, fresh: bool) -> None:
        postgres, broker = self._inventory.servers(memory)
        services = self._inventory.services(memory)
        if fresh:
            postgres.prepare()
            broker.prepare()
            keep_flower_password(self._inventory.settings(memory), self.folder)
            supervisor.configure([service.program for service in services])
            supervisor.start()
        # An ``up`` before this one may have left while Postgres was still starting.
        first = not any(info["start"] for info in supervisor.states().values() if info["group"] == "app")
        servers = [service for service in services if service.program.group not in ("app", "own")]
        supervisor.launch(*(service.program for service in servers))
        late = await_services(
            supervisor, self.folder, [service for service in servers if service.program.name == postgres.name]
        )
        if late:
            raise StillStarting(f"{late[0]}; it goes on, and so will `gristmill up`")
        if first:
            from gristmill.core.migrate import upgrade  # noqa: PLC0415 - Alembic and all tables, for a first start only

            postgres.ensure_database()
            upgrade(postgres.url)
        # None of them needs the broker to start: they get ready while it does.
        supervisor.launch(*(service.program for service in services if service.program.name in _FIRST))
        await_services(supervisor, self.folder, servers)
        supervisor.launch(*(service.program for service in services))
        own = [service for service in services if service.program.group == "own"]
        for line in await_services(supervisor, self.folder, [service for service in services if service not in own]):
            self._note(line)
        for service in own:
            # An application that does not come up stops nothing else.
            try:
                late = await_services(supervisor, self.folder, [service])
            except StackFailed as error:
                late = [error.detail.splitlines()[0]]
            for line in late:
                self._note(line)

    def _stop_seconds(self, memory: Memory) -> float:
        """Return how long an orderly stop takes at most."""
        longest = dict.fromkeys(("data", "names", "broker", "app", "own"), 10.0)
        for service in self._inventory.services(memory):
            program: Program = service.program
            longest[program.group] = max(longest[program.group], program.stop_seconds)
        return sum(longest.values()) + 10

    def _stop(self, supervisor: Supervisor, memory: Memory) -> None:
        with at_its_place(self.folder, memory):
            with contextlib.suppress(StackFailed):
                supervisor.shutdown(self._stop_seconds(memory))
            self._end_leftovers(memory)
            supervisor.socket.unlink(missing_ok=True)

    def _end_leftovers(self, memory: Memory) -> None:
        """End processes of this stack that no supervisor looks after any more, the servers last."""
        leftovers = processes.marked(memory.id, but_not="postgres")
        if leftovers:
            self._say(f"ending {len(leftovers)} processes that were left over")
        processes.end(leftovers, signal.SIGTERM, _LEFTOVER_SECONDS)
        for server in reversed(self._inventory.servers(memory)):
            server.end_leftover()

    def _supervisor(self, memory: Memory) -> Supervisor:
        return Supervisor(self.folder, memory.socket, memory.id)

    def _note(self, line: str) -> None:
        self._notes.append(line)
        self._say(line)
