"""COPY through psycopg2, as SQLAlchemy has no call for it: blocks in, messages out, errors as they were raised."""

import contextlib
import io
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql

_DIALECT = postgresql.psycopg2.dialect()  # type: ignore[no-untyped-call]
# Frame of the binary format: https://www.postgresql.org/docs/18/sql-copy.html, "Binary Format".
BINARY_HEAD = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
BINARY_TAIL = struct.pack("!h", -1)
# Bytes that psycopg2 asks for at once; a larger value adds a copy and saves nothing.
READ_BYTES = 64 * 1024
# Bytes that one COPY statement takes at most, one large row aside.
STATEMENT_BYTES = 32 * 1024 * 1024


def copy_in(connection: Connection, sql: str, blocks: Iterable[bytes | memoryview]) -> None:
    """Run ``sql``, a COPY … FROM STDIN, with the data in ``blocks``, which are taken one by one as they are needed.

    What ``blocks`` raises is raised; the COPY is then undone with its transaction.
    """
    if not connection.in_transaction():
        # SQLAlchemy does not see the statement below; unless a transaction has begun, its commit would do nothing.
        connection.begin()
    reader = _Reader(iter(blocks))
    try:
        with contextlib.closing(connection.connection.cursor()) as cursor:
            cursor.copy_expert(sql, reader, size=READ_BYTES)
    except Exception:
        if reader.error is not None:
            # Of this Postgres knows no more than that the client gave up.
            raise reader.error from None
        raise


def copy_rows(connection: Connection, sql: str, rows: Iterable[Sequence[bytes | memoryview]]) -> None:
    """Run ``sql``, a COPY … FROM STDIN (FORMAT binary), with rows of any size, each in blocks; no rows: do nothing.

    It is run again for each 32 MiB: Postgres holds up to a thousand rows of a binary COPY in memory before it writes
    them, as it only counts the bytes of rows in text form.
    """
    source = iter(rows)
    row = next(source, None)

    def blocks() -> Iterator[bytes | memoryview]:
        nonlocal row
        size = 0
        yield BINARY_HEAD
        while row is not None and size < STATEMENT_BYTES:
            for block in row:
                size += len(block)
                yield block
            row = next(source, None)
        yield BINARY_TAIL

    while row is not None:
        copy_in(connection, sql, blocks())


def copy_out(connection: Connection, sql: str) -> list[bytes]:
    """Run ``sql``, a COPY … TO STDOUT, and return its data as it came: in text form one row each."""
    writer = _Writer()
    with contextlib.closing(connection.connection.cursor()) as cursor:
        cursor.copy_expert(sql, writer)
    return writer.messages


def copy_query(connection: Connection, select: sa.Select[Any], copy: str) -> bytes:
    """Return the data of a COPY. copy: the statement, with {} for the query.

    COPY takes no parameters: psycopg2 writes them into the query, as always.
    """
    compiled: Any = select.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    buffer = io.BytesIO()
    with contextlib.closing(connection.connection.cursor()) as cursor:
        driver: Any = cursor
        query = driver.mogrify(str(compiled), compiled.params).decode()
        driver.copy_expert(copy.replace("{}", query), buffer)
    return buffer.getvalue()


class _Reader:
    """A file to read the blocks from; psycopg2 asks for a size and takes less."""

    def __init__(self, blocks: Iterator[bytes | memoryview]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")
        self.error: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        while not self._rest:
            try:
                block = next(self._blocks, None)
            except BaseException as error:
                self.error = error
                raise
            if block is None:
                return b""
            self._rest = memoryview(block)
        size = len(self._rest) if size < 0 else size
        taken, self._rest = self._rest[:size], self._rest[size:]
        return bytes(taken)

    def readline(self, size: int = -1) -> bytes:
        """Return what ``read`` does: psycopg2 wants to see the method, and does not call it."""
        return self.read(size)


class _Writer:
    def __init__(self) -> None:
        self.messages: list[bytes] = []

    def write(self, data: Any) -> int:
        self.messages.append(data)
        return len(data)
