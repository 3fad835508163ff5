"""How Postgres writes the values of an export: cells of CSV, members of JSON, and cells that Arrow reads.

Postgres makes the text, in compiled code and close to the data; the API passes it on. The text is the one that POST
takes, so what is exported can be submitted again and is equal. ``docs/types.md`` has the forms.
"""

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSON

from gristmill.datasets.contract import EMBEDDING_COLUMN, Contract

Expression = sa.ColumnElement[Any]
Writer = Callable[[Expression], Expression]


def csv_cells(contract: Contract, names: Sequence[str], table: sa.Table) -> list[Expression]:
    """Return the columns as COPY writes them into CSV cells: null is an empty cell, empty text a quoted one."""
    return _written(contract, names, table, _CELLS)


def arrow_cells(contract: Contract, names: Sequence[str], table: sa.Table) -> list[Expression]:
    """Return the columns as CSV cells that are quick to make Arrow columns of: vectors and images in hexadecimal."""
    return _written(contract, names, table, {**_CELLS, "vector": _vector_hex, "image": _image_hex})


def json_members(contract: Contract, names: Sequence[str], table: sa.Table) -> list[Expression]:
    """Return the columns so that row_to_json writes what POST takes."""
    return _written(contract, names, table, _MEMBERS)


def _written(contract: Contract, names: Sequence[str], table: sa.Table, writers: dict[str, Writer]) -> list[Expression]:
    shown: list[Expression] = []
    for name in names:
        kind = "vector" if name == EMBEDDING_COLUMN else contract.field(name).type
        write = writers.get(kind)
        column: Expression = table.c[name]
        shown.append((column if write is None else write(column)).label(name))
    return shown


def _text(column: Expression) -> Expression:
    return sa.cast(column, sa.Text)


def _timestamp(column: Expression) -> Expression:
    written = sa.func.to_char(sa.func.timezone("UTC", column), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    return sa.func.replace(written, ".000000Z", "Z")


def _base64(column: Expression) -> Expression:
    # Postgres breaks base64 into lines.
    return sa.func.translate(sa.func.encode(column, "base64"), "\n", "")


def _float_json(column: Expression) -> Expression:
    # The number -0 is an integer in JSON, which has no negative zero.
    negative_zero = sa.and_(column == 0, _text(column) == "-0")
    return sa.case((negative_zero, sa.cast("-0.0", JSON)), else_=sa.func.to_json(column))


def _vector(column: Expression) -> Expression:
    # The list is JSON in CSV too, and JSON has no integer -0. Exponents have two digits at least, and none is -00.
    return sa.func.replace(sa.func.replace(_text(column), "-0,", "-0.0,"), "-0]", "-0.0]")


def _vector_json(column: Expression) -> Expression:
    return sa.cast(_vector(column), JSON)


def _vector_hex(column: Expression) -> Expression:
    # vector_send is what binary COPY writes: int16 dimensions, int16 zero, big-endian float4s.
    return sa.func.encode(sa.func.vector_send(sa.cast(column, _Vector())), "hex")


def _image_hex(column: Expression) -> Expression:
    return sa.func.encode(column, "hex")


class _Vector(sa.types.UserDefinedType[Any]):
    """pgvector's vector without dimensions: the cast widens halfvec and does nothing to vector."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "vector"


# Types that are not named are written as Postgres writes them anyway.
_CELLS: dict[str, Writer] = {"boolean": _text, "timestamp": _timestamp, "vector": _vector, "image": _base64}
_MEMBERS: dict[str, Writer] = {
    "float": _float_json,
    "decimal": _text,
    "timestamp": _timestamp,
    "vector": _vector_json,
    "image": _base64,
}
