"""SQL that reads the vectors of a dataset's records in bulk, as Postgres has them, and draws some of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection

from gristmill.core.copy import copy_out
from gristmill.core.database import data_relation
from gristmill.datasets.errors import UnknownDataset

# What a page of vectors may take, and how many records it has at most: each of them is compared with every query. It is
# read in one statement, for which index builds wait.
PAGE_BYTES = 8 * 1024 * 1024
PAGE_ROWS = 4096
# Bits are compared as numbers, which take 32 times their room.
_EXPANDED = {"vector": 1, "halfvec": 2, "bit": 32}
# COPY's binary form: a head, then of each row the number of its fields and for each field its length and its bytes.
_HEAD = 19
_NUMBERS = {"vector": ">f4", "halfvec": ">f2"}


def read_page(
    connection: Connection, table: str, storage: str, dimensions: int, condition: str, after: int
) -> tuple[Any, Any]:
    """Return ``_id`` and vector of the next records after ``_id`` ``after``: (rows,) int64 and (rows, dimensions).

    Vectors are float32; those of storage bit are bytes of 8 bits, (rows, dimensions / 8 rounded up) uint8. condition:
    SQL of constants. Both are empty where there are no more. Raises UnknownDataset where the table is another one.
    """
    row = _row(storage, dimensions)
    limit = min(PAGE_ROWS, max(1, PAGE_BYTES // (row.itemsize * _EXPANDED[storage])))
    sql = f"SELECT _id, _embedding FROM {data_relation(table)} WHERE _embedding IS NOT NULL AND _id > {after:d}"  # noqa: S608
    sql += f" AND {condition} ORDER BY _id LIMIT {limit:d}"
    data = b"".join(copy_out(connection, f"COPY ({sql}) TO STDOUT (FORMAT binary)"))
    rows = np.frombuffer(data, row, count=(len(data) - _HEAD) // row.itemsize, offset=_HEAD)
    if (rows["bits" if storage == "bit" else "size"] != dimensions).any():
        # Another dataset has the name by now.
        raise UnknownDataset(f"The dataset {table} has other vectors than before")
    vectors = rows["vector"]
    return rows["id"].astype(np.int64), vectors if storage == "bit" else vectors.astype(np.float32)


def _row(storage: str, dimensions: int) -> np.dtype[Any]:
    """Return the layout of a row: pgvector sends the number of dimensions (bit: of bits) before the values."""
    fields: list[Any] = [("fields", ">i2"), ("id_length", ">i4"), ("id", ">i8"), ("length", ">i4")]
    if storage == "bit":
        return np.dtype([*fields, ("bits", ">i4"), ("vector", "u1", ((dimensions + 7) // 8,))])
    return np.dtype([*fields, ("size", ">i2"), ("unused", ">i2"), ("vector", _NUMBERS[storage], (dimensions,))])


def ids_of(connection: Connection, table: str, select: str) -> list[int]:
    """Return those of the ids of ``select`` (SQL of constants) that are records with a vector."""
    sql = f"SELECT _id FROM {data_relation(table)} WHERE _embedding IS NOT NULL AND _id = ANY(ARRAY({select}))"  # noqa: S608
    return [row[0] for row in connection.exec_driver_sql(sql)]


def id_from(connection: Connection, table: str, lo: int, hi: int | None) -> int | None:
    """Return the first record with a vector from ``lo`` on, before ``hi``; None if there is none."""
    upper = "" if hi is None else f" AND _id < {hi:d}"
    sql = f"SELECT _id FROM {data_relation(table)} WHERE _embedding IS NOT NULL AND _id >= {lo:d}{upper}"  # noqa: S608
    found: int | None = connection.exec_driver_sql(f"{sql} ORDER BY _id LIMIT 1").scalar()
    return found


def texts_of(connection: Connection, table: str, ids: list[int]) -> list[tuple[int, str]]:
    """Return (_id, vector as pgvector writes it) of the records that are still there."""
    sql = f"SELECT _id, _embedding::text FROM {data_relation(table)}"  # noqa: S608 - quoted
    rows = connection.exec_driver_sql(f"{sql} WHERE _id = ANY(%(ids)s) AND _embedding IS NOT NULL", {"ids": ids})
    return [(row[0], row[1]) for row in rows]


@dataclass(frozen=True, slots=True)
class Compared:
    """How the vectors of a table are compared. type: of the column, with its dimensions."""

    table: str
    operator: str
    type: str

    def distances(self, connection: Connection, vector: str, ids: list[int]) -> list[float]:
        """Return the distances of the records to a vector, in order."""
        distance = f"_embedding {self.operator} %(vector)s::{self.type}"
        sql = f"SELECT {distance} FROM {data_relation(self.table)} WHERE _id = ANY(%(ids)s) ORDER BY 1"  # noqa: S608
        return [row[0] for row in connection.exec_driver_sql(sql, {"vector": vector, "ids": ids})]

    def walks(
        self, connection: Connection, settings: str, vectors: list[str], condition: str, order: str, limit: int
    ) -> list[list[float]]:
        """Return for each vector the distances that a walk through the graph of ``condition`` finds, in its order.

        order: what the walk goes by, SQL of ``_embedding`` and ``q.vector``.
        """
        walk = f"SELECT _embedding {self.operator} q.vector AS distance FROM {data_relation(self.table)}"  # noqa: S608
        walk += f" WHERE _embedding IS NOT NULL AND {condition} ORDER BY {order} LIMIT {limit:d}"
        given = f"unnest(%(vectors)s::{self.type}[]) WITH ORDINALITY AS q (vector, n)"
        sql = f"SELECT q.n, near.distance FROM {given} CROSS JOIN LATERAL ({walk}) AS near"  # noqa: S608
        found: list[list[float]] = [[] for _ in vectors]
        for number, distance in connection.exec_driver_sql(settings + sql, {"vectors": vectors}):
            found[number - 1].append(distance)
        return found
