"""The role of people and tools that read the tables of datasets by SQL, and may do nothing else."""

import hashlib

from psycopg2.errors import InsufficientPrivilege
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from gristmill.access import repository
from gristmill.core.database import Database
from gristmill.core.errors import Forbidden

MAX_IDENTIFIER_BYTES = 63
# So slow that the password of the database cannot be guessed from that of the reader.
_SCRYPT = {"n": 2**14, "r": 8, "p": 1, "dklen": 24}


def read_only_url(database: Database) -> str:
    """Make the read-only role, or set what it may do anew, and return the URL that connects with it.

    Its password follows from the database user's and is stored nowhere else: the same URL comes each time, and another
    one when that password is changed. Raises Forbidden if the database user may make no roles; the message has the SQL.
    """
    url = database.url.set(drivername="postgresql")
    role = reader_of(url)
    password = _password(url, role)
    try:
        with database.transaction() as connection:
            repository.grant_reader(connection, role, str(url.database), password)
    except DBAPIError as error:
        if not isinstance(error.orig, InsufficientPrivilege):
            raise
        statements = "\n".join(repository.reader_statements(role, str(url.database), str(url.username)))
        raise Forbidden(
            f"The database user {url.username} may not make the role {role}: let an administrator run, in the database "
            f"{url.database}:\n{statements}\nand give the role a password: \\password {role}"
        ) from error
    return url.set(username=role, password=password).render_as_string(hide_password=False)


def reader_of(url: URL) -> str:
    """Return the name of the role: roles belong to a server, so it is named after the database."""
    name = f"{url.database}_reader"
    if len(name.encode()) > MAX_IDENTIFIER_BYTES:
        name = f"{hashlib.sha256(name.encode()).hexdigest()[:40]}_reader"
    return name


def _password(url: URL, role: str) -> str | None:
    """Return the role's password; None where the database user has none, as the server does not ask for one."""
    if not url.password:
        return None
    return hashlib.scrypt(str(url.password).encode(), salt=f"gristmill {role}".encode(), **_SCRYPT).hex()
