"""The database port: engines, transactions, LISTEN. The only place that commits."""

import contextlib
import json
import re
import select
import uuid
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg2
import psycopg2.errorcodes
import psycopg2.extensions
from pydantic_core import ValidationError
from sqlalchemy import Connection, Engine, MetaData, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from gristmill.core.errors import Contended, DatabaseUnavailable, Internal, StorageFull, Unavailable
from gristmill.kit.identifiers import quote

SCHEMA = "gristmill"
DATA_SCHEMA = "data"
MIN_POSTGRES = (18,)
MIN_PGVECTOR = (0, 8, 4)
# Serialization failure, deadlock, lock not available, statement timeout (a wait for a lock counts as its time).
CONTENDED = ("40001", "40P01", "55P03", "57014")
DISK_FULL = "53100"
UNDEFINED_TABLE = "42P01"
_LINK = re.compile(r"\s*\(?\b(?:Background on this error at: )?https?://\S+")
_MAY_CREATE = "SELECT has_tablespace_privilege(oid, 'CREATE') FROM pg_tablespace WHERE spcname = %s"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    },
)


class Database:
    """A pool of connections to one Postgres. ``url`` is a libpq URL; ``name`` shows up in pg_stat_activity.

    statement_timeout: seconds. idle_timeout: seconds that a client may be silent within a transaction before Postgres
    ends it; until then the locks of a frozen client block others. tablespace: where tables and indexes that these
    connections make are put; empty for the database's own.
    """

    def __init__(
        self,
        url: str,
        name: str,
        pool: int = 10,
        statement_timeout: float = 30.0,
        idle_timeout: float = 300.0,
        tablespace: str = "",
    ) -> None:
        self.url = make_url(url).set(drivername="postgresql+psycopg2")
        self.name = name
        options = f"-c statement_timeout={int(statement_timeout * 1000)} -c client_connection_check_interval=2s"
        options += " -c timezone=UTC -c search_path=public"
        options += f" -c idle_in_transaction_session_timeout={int(idle_timeout * 1000)}"
        if tablespace:
            options += f" -c default_tablespace={tablespace}"
        self._tablespace = tablespace
        self._connect_args: dict[str, Any] = {
            "application_name": name,
            "connect_timeout": 5,
            "options": options,
            "keepalives_idle": 30,
        }
        options_: dict[str, Any] = {"max_overflow": 0, "pool_timeout": 10, "connect_args": self._connect_args}
        # The connection that was used last, whose session has all statements prepared and its memory in the caches.
        options_["pool_use_lifo"] = True
        self.engine: Engine = create_engine(self.url, pool_size=pool, **options_)
        self._raw: weakref.WeakSet[Any] = weakref.WeakSet()
        # A pool of its own: switching one connection to autocommit and back costs two round trips.
        self._autocommit: Engine = create_engine(self.url, pool_size=pool, isolation_level="AUTOCOMMIT", **options_)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One transaction: commits at the end of the block, rolls back on any exception.

        Raises DatabaseUnavailable when Postgres cannot be reached or goes away, Contended on deadlocks and lock
        timeouts.
        """
        with _unavailable(), self.engine.connect() as connection:
            yield connection
            connection.commit()

    @contextlib.contextmanager
    def autocommit(self) -> Iterator[Connection]:
        """A connection whose every statement is its own transaction: one round trip instead of three."""
        with _unavailable(), self._autocommit.connect() as connection:
            yield connection

    def connect_raw(self, **options: Any) -> Any:
        """A psycopg2 connection outside the pool, in autocommit mode: for LISTEN, heartbeats, session locks."""
        url = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        try:
            connection = psycopg2.connect(url, **{**self._connect_args, **options})
        except psycopg2.OperationalError as error:
            raise DatabaseUnavailable(f"Postgres cannot be reached: {str(error).strip().splitlines()[0]}") from error
        connection.autocommit = True
        self._raw.add(connection)
        return connection

    def close(self) -> None:
        """Close every connection, those of threads that wait for something to do included."""
        self.engine.dispose()
        self._autocommit.dispose()
        for connection in list(self._raw):
            connection.close()

    def ping(self) -> None:
        """Raise DatabaseUnavailable if Postgres does not answer."""
        with self.autocommit() as connection:
            connection.execute(text("SELECT 1"))

    def check_versions(self) -> None:
        """Raise Unavailable if Postgres is older than 18, as RETURNING needs ``old``, or pgvector than 0.8.4.

        pgvector before that has an index corruption and an overflow.
        """
        with self.autocommit() as connection:
            server = connection.dialect.server_version_info or (0,)
            if server < MIN_POSTGRES:
                raise Unavailable(f"Postgres {server[0]} is too old: {MIN_POSTGRES[0]} or newer is needed")
            version = connection.execute(text("SELECT extversion FROM pg_extension WHERE extname = 'vector'")).scalar()
        if version is None:
            raise Unavailable("The extension pgvector is not installed in the database: run the migrations first")
        if tuple(int(part) for part in version.split(".")) < MIN_PGVECTOR:
            raise Unavailable(f"pgvector {version} is too old: 0.8.4 or newer is needed")

    def check_tablespace(self) -> None:
        """Raise Unavailable if the tablespace cannot be used."""
        if not self._tablespace:
            return
        # A connection without the option: Postgres refuses one that names a tablespace which does not exist.
        connection = self.connect_raw(options="")
        try:
            with connection.cursor() as cursor:
                cursor.execute(_MAY_CREATE, (self._tablespace,))
                found = cursor.fetchone()
        finally:
            connection.close()
        if found is None or not found[0]:
            what = "there is no such tablespace" if found is None else "the database user may create nothing in it"
            raise Unavailable(f"The tablespace {self._tablespace} cannot be used (database_tablespace): {what}")


def read_one_moment(connection: Connection) -> None:
    """Let all that the transaction reads be as of one moment, and write nothing; its first statement."""
    connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def set_time_limit(connection: Connection, seconds: float | None) -> None:
    """Let statements take so long for the rest of the transaction; None: as long as the connection does by default.

    0: as long as they need, for what grows with the size of a table.
    """
    limit = "DEFAULT" if seconds is None else f"'{int(seconds * 1000)}ms'"
    connection.exec_driver_sql(f"SET LOCAL statement_timeout TO {limit}")


class Listener:
    """One LISTEN connection. ``wait`` blocks up to a timeout and returns the notifications that came."""

    def __init__(self, database: Database, *channels: str) -> None:
        """Raises DatabaseUnavailable."""
        self._connection = database.connect_raw()
        with _unavailable(), self._connection.cursor() as cursor:
            for channel in channels:
                cursor.execute(f'LISTEN "{channel}"')

    def fileno(self) -> int:
        number: int = self._connection.fileno()
        return number

    def wait(self, timeout: float) -> list[tuple[str, str]]:
        """Return (channel, payload) pairs, none after ``timeout`` seconds. Raises DatabaseUnavailable if it is lost."""
        if not self._connection.notifies:
            select.select([self._connection], [], [], timeout)
        return self.drain()

    def drain(self) -> list[tuple[str, str]]:
        """Return what has arrived, without waiting."""
        try:
            self._connection.poll()
        except psycopg2.Error as error:
            raise DatabaseUnavailable(f"The connection to Postgres was lost: {_first_line(error)}") from error
        found = [(notify.channel, notify.payload) for notify in self._connection.notifies]
        self._connection.notifies.clear()
        return found

    def close(self) -> None:
        self._connection.close()


def data_relation(name: str) -> str:
    """Return the quoted name of a table or index of datasets, with its schema."""
    return f"{quote(DATA_SCHEMA)}.{quote(name)}"


def is_undefined_table(error: DBAPIError) -> bool:
    """Say whether a statement failed as its table is not there: it was dropped meanwhile, or is still to be created."""
    return getattr(error.orig, "pgcode", None) == UNDEFINED_TABLE


def is_lost_connection(error: BaseException) -> bool:
    """Say whether ``error`` means that Postgres cannot be reached now, rather than that a statement was wrong."""
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    # COPY runs on psycopg2's own cursor, whose errors SQLAlchemy does not wrap.
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "pgcode", None)
    if code is None:
        return isinstance(cause, psycopg2.OperationalError | psycopg2.InterfaceError)
    if code == "08P01" and cause.diag.severity_nonlocalized == "ERROR":  # type: ignore[union-attr]
        # A message that Postgres could not read, such as a wrong COPY: it would refuse it again, and the session lives.
        # A pooler that ends a session says the same as FATAL.
        return False
    # 57P01-57P05: shutting down, starting, or the session was ended; 25P03: it idled in a transaction; 08xxx:
    # connection; 53xxx: out of disk, memory, connections.
    return bool(code[:2] in ("08", "53") or code[:4] == "57P0" or code in ("25006", "25P03"))


def internal_of(error: BaseException) -> Internal:
    """Return the defect that ``error`` is, in a sentence for users: no SQL, no values, no links; log the error itself.

    What a library of ours raised is named, what anybody else raised is quoted: it is a plugin's own word.
    """
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(cause, "pgcode", None)
    if code is not None:
        try:
            name = psycopg2.errorcodes.lookup(code).replace("_", " ").lower()
        except KeyError:
            name = "an error"
        return Internal(f"Postgres refused a statement: {name} (SQLSTATE {code}); the log has the cause")
    if isinstance(error, SQLAlchemyError | psycopg2.Error):
        return Internal(f"A statement could not be carried out ({type(error).__name__}); the log has the cause")
    if isinstance(error, ValidationError):
        said = [f"{'.'.join(map(str, item['loc'])) or 'value'}: {item['msg']}" for item in error.errors()[:3]]
        return Internal(f"{type(error).__name__}: {'; '.join(said)}")
    # Only the first line: messages of libraries go on with code, advice and links.
    said_first = _LINK.sub("", _first_line(error))[:500]
    return Internal(f"{type(error).__name__}: {said_first}")


def written(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters of a statement as psycopg2 takes them: objects as JSON texts, UUIDs as texts."""
    return {
        name: json.dumps(value) if isinstance(value, dict) else str(value) if isinstance(value, uuid.UUID) else value
        for name, value in values.items()
    }


@contextlib.contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseUnavailable("All connections to Postgres are in use") from error
    except (DBAPIError, psycopg2.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if getattr(cause, "pgcode", None) == DISK_FULL:
            raise StorageFull(f"Postgres has no room on disk: {_first_line(cause)}") from error
        if is_lost_connection(error):
            raise DatabaseUnavailable(f"Postgres is not available: {_first_line(cause)}") from error
        if getattr(cause, "pgcode", None) in CONTENDED:
            raise Contended(f"Postgres ended the transaction: {_first_line(cause)}") from error
        raise


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]
