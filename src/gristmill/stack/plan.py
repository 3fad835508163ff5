"""What a new start of a stack runs: which broker, and which ports."""

from collections.abc import Callable

from gristmill.core.config import Settings
from gristmill.stack import ports, rabbitmq
from gristmill.stack.layout import BrokerKind, Memory


def make_plan(asked: Settings, before: Memory | None, note: Callable[[str], None]) -> Memory:
    """Choose broker and ports: those of last time where the configuration is the same and they are free.

    note: called with each line that people should read.
    """
    memory = before or Memory()
    memory.broker = _choose_broker(asked, note)
    memory.api_host = asked.api_host
    fields = Settings.model_fields
    wanted = {
        "postgres": ("stack_postgres_port", asked.stack_postgres_port),
        "broker": ("stack_broker_port", asked.stack_broker_port),
        "api": ("api_port", asked.api_port),
        "flower": ("flower_port", asked.flower_port),
    }
    chosen: set[int] = set()
    # Those that somebody asked for first: another moves if it had one of them last time.
    for service, (name, configured) in sorted(wanted.items(), key=lambda item: item[1][1] == 0):
        last = memory.ports.get(service) if memory.asked.get(service) == configured else None
        host = memory.api_host if service == "api" else "127.0.0.1"
        port = ports.choose(name, configured, fields[name].default, last, host, chosen)
        if configured not in (0, port):
            note(f"{service}: port {configured} is taken, listening on {port} instead")
        chosen.add(port)
        memory.ports[service], memory.asked[service] = port, configured
    for service in ("names", "node"):
        memory.ports[service] = ports.choose(service, 0, 0, memory.ports.get(service), chosen=chosen)
        chosen.add(memory.ports[service])
    return memory


def _choose_broker(asked: Settings, note: Callable[[str], None]) -> BrokerKind:
    wanted = asked.stack_broker
    if wanted == "rabbitmq" or (wanted == "auto" and rabbitmq.server_script()):
        note(f"broker: a private RabbitMQ {rabbitmq.version()} node")
        return "rabbitmq"
    because = "as configured" if wanted == "valkey" else "because rabbitmq-server is not installed"
    note(f"broker: Valkey, {because}")
    return "valkey"
