"""SQL of operations on the tables of datasets: rename, truncate, copy by slices of ``_id``."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from gristmill.core.database import DATA_SCHEMA, data_relation
from gristmill.datasets.contract import Contract
from gristmill.datasets.ddl import record_table
from gristmill.datasets.parents.above import attach_above
from gristmill.datasets.where import compile_where
from gristmill.kit.identifiers import quote

# Records that one statement of a copy takes: between two of them the job may be cancelled, and says how far it is.
SLICE_ROWS = 20_000
# Postgres has one space of names for tables, indexes and sequences; a constraint is renamed with its index.
_NAMED_AFTER = """
SELECT c.relname, c.relkind::text FROM pg_class AS c
WHERE c.relnamespace = to_regnamespace(%(schema)s) AND starts_with(c.relname, %(table)s || '__')
    AND (c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = to_regclass(%(relation)s))
        OR c.oid = pg_get_serial_sequence(%(relation)s, '_id')::regclass)
ORDER BY c.relname
"""
_RENAME_DATASET = "UPDATE gristmill.datasets SET name = %(name)s WHERE id = %(id)s"
_KINDS = {"i": "INDEX", "S": "SEQUENCE"}


def rename_table(connection: Connection, old: str, new: str) -> None:
    """Rename a table and all that is named after it; call it within ``ddl.limited``."""
    values = {"schema": DATA_SCHEMA, "table": old, "relation": data_relation(old)}
    for name, kind in connection.exec_driver_sql(_NAMED_AFTER, values).all():
        renamed = quote(new + name[len(old) :])
        connection.exec_driver_sql(f"ALTER {_KINDS[kind]} {data_relation(name)} RENAME TO {renamed}")
    connection.exec_driver_sql(f"ALTER TABLE {data_relation(old)} RENAME TO {quote(new)}")


def rename_dataset(connection: Connection, dataset_id: Any, name: str) -> None:
    """Give the dataset another name. Raises sqlalchemy.exc.IntegrityError if it is taken."""
    connection.exec_driver_sql(_RENAME_DATASET, {"id": str(dataset_id), "name": name})


def truncate_table(connection: Connection, name: str) -> None:
    """Delete all rows in constant time; ``_id`` goes on where it was. Call it within ``ddl.limited``."""
    connection.exec_driver_sql(f"TRUNCATE TABLE {data_relation(name)}")


def copy_rows(connection: Connection, source: Contract, target: Contract, where: Any) -> Iterator[tuple[int, float]]:
    """Copy the records of one table that the filter finds into another, in the order of their arrival.

    Records keep ``_seq`` and ``_ord``: whatever is submitted to the copy has a larger number. Columns that the source
    does not have stay null. Yields, after each slice, how many records it copied and the share that is done.
    """
    old, new = record_table(source), record_table(target)
    names = [column.name for column in target.columns if column.name in old.c] + ["_seq", "_ord", "_batch"]
    first, last = connection.execute(sa.select(sa.func.min(old.c["_id"]), sa.func.max(old.c["_id"]))).one()
    if first is None:
        return
    condition = compile_where(where, attach_above(connection, source, where), old)
    after = first - 1
    while after < last:
        slice_ = sa.select(old.c["_id"]).where(old.c["_id"] > after).order_by(old.c["_id"]).limit(SLICE_ROWS)
        end = connection.execute(sa.select(sa.func.max(slice_.subquery().c["_id"]))).scalar()
        if end is None:
            # Those that were left have been deleted for their age.
            return
        rows = sa.select(*(old.c[name] for name in names)).where(old.c["_id"] > after, old.c["_id"] <= end, condition)
        copied = connection.execute(sa.insert(new).from_select(names, rows.order_by(old.c["_id"]))).rowcount
        after = end
        yield copied, min(1.0, (after - first + 1) / (last - first + 1))
