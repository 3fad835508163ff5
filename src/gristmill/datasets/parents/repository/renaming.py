"""SQL of children that follow a parent to its new key."""

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from gristmill.datasets.contract import Contract
from gristmill.datasets.ddl import batch_of, record_table
from gristmill.datasets.parents.relations import Relation


def count_named(connection: Connection, relation: Relation, key: Any, most: int) -> int:
    """Return how many children name a parent, counting up to ``most``."""
    field = record_table(relation.child).c[relation.spec.field]
    named = sa.select(field).where(field == key).limit(most).subquery()
    return connection.execute(sa.select(sa.func.count()).select_from(named)).scalar_one()


def move_children(
    connection: Connection, child: Contract, fields: Collection[str], keys: tuple[Any, Any], seq: int
) -> int:
    """Give the fields of children that hold the first of two keys the second one; return how many children there were.

    seq: the number of the job. Children without a key keep their places in the order of submission.
    """
    table, (old, new) = record_table(child), keys
    values: dict[Any, Any] = {}
    for name in fields:
        column = table.c[name]
        value = sa.literal(new, column.type)
        values[column] = value if len(fields) == 1 else sa.case((column == old, value), else_=column)
    if child.key:
        values |= {table.c["_seq"]: seq, table.c["_ord"]: 0, table.c["_batch"]: batch_of(table)}
    # A new _id takes the row out of every sealed range, so that no vector index is touched.
    values[table.c["_id"]] = sa.text("DEFAULT")
    named = sa.or_(*(table.c[name] == old for name in fields))
    return connection.execute(sa.update(table).where(named).values(values)).rowcount
