"""A private RabbitMQ node, from the ``rabbitmq-server`` that the system has installed."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path
from urllib.parse import quote

from gristmill.stack import ports
from gristmill.stack.errors import StackFailed
from gristmill.stack.program import Program
from gristmill.stack.server import Server, secret

USER = "gristmill"

# The packages' own script; the one in /usr/sbin only starts the system's node, as the user rabbitmq.
_PACKAGED = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")

_CONFIGURATION = """\
# Written at every start of the stack.
listeners.tcp.1 = 127.0.0.1:{port}
default_user = {user}
default_pass = {password}
default_vhost = /
default_user_tags.administrator = true
# A delivery that is not acknowledged for longer closes its channel: above the hard time limit of the longest task.
consumer_timeout = {consumer_timeout}
vm_memory_high_watermark.absolute = 512MB
disk_free_limit.absolute = 200MB
log.file = false
log.console = true
log.console.level = warning
# Probes of readiness open a connection and leave; that is not worth a line each.
log.connection.level = error
"""


def server_script() -> Path | None:
    """Return the script that starts a node as any user, or None where RabbitMQ is not installed."""
    if not shutil.which("erl"):
        return None
    if _PACKAGED.is_file():
        return _PACKAGED
    found = shutil.which("rabbitmq-server")
    return Path(found) if found and Path(found).resolve().parent != Path("/usr/sbin") else None


def version() -> str:
    """Return the installed version, such as 3.10.8, or an empty string if it cannot be told."""
    script = server_script()
    if script is None:
        return ""
    # Packages put the scripts into /usr/lib/rabbitmq/bin, the rest into /usr/lib/rabbitmq/lib/rabbitmq_server-3.10.8.
    candidates = [str(script.resolve()), *map(str, script.parent.parent.glob("lib/rabbitmq_server-*"))]
    return next((match[1] for name in candidates if (match := re.search(r"rabbitmq_server-([\d.]+)", name))), "")


class RabbitServer(Server):
    """One RabbitMQ node on 127.0.0.1 with its own Erlang cookie, user and name service.

    port: AMQP; 0 takes a free one. names_port, node_port: Erlang's name service (epmd) and the node's own listener,
    both on loopback. A private epmd keeps stacks and the system's RabbitMQ apart; it ends with the node.
    consumer_timeout: seconds.
    """

    name = "rabbitmq"

    def __init__(
        self,
        data_dir: Path | str,
        port: int = 0,
        names_port: int = 0,
        node_port: int = 0,
        consumer_timeout: float = 8 * 3600,
    ) -> None:
        super().__init__(data_dir, port or ports.any_free())
        self.names_port = names_port or ports.any_free()
        self.node_port = node_port or ports.any_free()
        self.consumer_timeout = consumer_timeout

    @property
    def url(self) -> str:
        return f"amqp://{USER}:{quote(self._password)}@127.0.0.1:{self.port}//"

    def prepare(self) -> None:
        if server_script() is None:
            raise StackFailed("RabbitMQ is not installed: on Debian and Ubuntu, apt-get install rabbitmq-server")
        for folder in (self.data_dir, self.data_dir / "home"):
            folder.mkdir(parents=True, exist_ok=True)
        self._follow_move()
        (self.data_dir / "rabbitmq-env.conf").write_text("# empty, so that the system's is not read\n")
        (self.data_dir / "enabled_plugins").write_text("[].\n")
        target = self.data_dir / "rabbitmq.conf"
        target.touch(mode=0o600)
        target.write_text(
            _CONFIGURATION.format(
                port=self.port,
                user=USER,
                password=self._password,
                consumer_timeout=int(self.consumer_timeout * 1000),
            )
        )

    def programs(self) -> list[Program]:
        script = server_script()
        epmd = shutil.which("epmd") or _bundled_epmd()
        # Both stop by SIGTERM: the node closes its queues and ends in order.
        return [
            Program(
                "epmd",
                (epmd, "-port", str(self.names_port), "-address", "127.0.0.1"),
                self.data_dir,
                "names",
                self._environment(),
            ),
            Program(self.name, (str(script),), self.data_dir, "broker", self._environment(), "TERM", stop_seconds=30),
        ]

    def ready(self) -> bool:
        """The listener opens last in the boot; a node that answers AMQP's greeting takes connections."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=2) as client:
            client.sendall(b"AMQP\x00\x00\x09\x01")
            return client.recv(1) == b"\x01"
        return False

    def _follow_move(self) -> None:
        """Forget what a node has written in another place: it keeps absolute paths, and could not start here.

        Nothing is lost by it: what is to be done is in Postgres, and is sent again.
        """
        written, here = self.data_dir / "place", str(self.data_dir.resolve())
        # Versions before this one wrote no place: whether they were moved is not known.
        if not written.exists() or written.read_text() != here:
            self.wipe()
        written.write_text(here)

    def wipe(self) -> None:
        """Delete every queue and message, as if the broker's disk had been lost; the node must not run."""
        shutil.rmtree(self.data_dir / "mnesia", ignore_errors=True)

    def control(self, *command: str) -> str:
        """Run ``rabbitmqctl`` on the running node and return what it printed. Raises StackFailed with its message."""
        script = server_script()
        environment = {**os.environ, **self._environment()}
        line = [str(script.with_name("rabbitmqctl")) if script else "rabbitmqctl", *command]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise StackFailed(f"rabbitmqctl {' '.join(command)} failed: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    @property
    def _password(self) -> str:
        return secret(self.data_dir / "password")

    def _environment(self) -> dict[str, str]:
        inside = self.data_dir
        return {
            "HOME": str(inside / "home"),  # the Erlang cookie is kept here
            "ERL_EPMD_PORT": str(self.names_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_CRASH_DUMP": str(inside / "erl_crash.dump"),
            "RABBITMQ_NODENAME": "gristmill@localhost",
            "RABBITMQ_DIST_PORT": str(self.node_port),
            "RABBITMQ_MNESIA_BASE": str(inside / "mnesia"),
            "RABBITMQ_LOG_BASE": str(inside / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_CONF_ENV_FILE": str(inside / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(inside / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(inside / "conf.d"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(inside / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(inside / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(inside / "pid"),
            # Threads with nothing to do sleep at once: on a machine that runs everything others need the processors.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}"
            " +sbwt none +sbwtdcpu none +sbwtdio none",
            # Makes the script replace itself by the Erlang machine instead of standing between it and the supervisor.
            "RUNNING_UNDER_SYSTEMD": "true",
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        }


def _bundled_epmd() -> str:
    """Return epmd from inside Erlang's own folder, for systems that do not put it on the PATH."""
    erl = Path(shutil.which("erl") or "/usr/bin/erl").resolve()
    for folder in (erl.parent, *erl.parent.parent.glob("erts-*/bin")):
        if (folder / "epmd").is_file():
            return str(folder / "epmd")
    raise StackFailed(f"epmd, Erlang's name service, was not found beside {erl}")
