"""Records that are parents: whether what their children use is within the bounds that they bring."""

from collections.abc import Iterator
from dataclasses import replace

from sqlalchemy import Connection

from gristmill.datasets.parents.errors import LimitExceeded
from gristmill.datasets.parents.judge import lowered
from gristmill.datasets.parents.relations import Relation
from gristmill.datasets.parents.repository.usage import read_usage
from gristmill.records.parents.keys import Rows, exact, values_of


def beyond_bounds(
    connection: Connection, relation: Relation, rows: Rows, *, lock: bool
) -> Iterator[tuple[int, LimitExceeded]]:
    """Yield the row of each record with less, or more, than its children have, and the error that says so.

    The bounds are those of the records and not of what is stored: a later job may have replaced that already, and of a
    job that would have been refused before it nothing is kept. The children are the same for both, as none of theirs
    runs between jobs of their parents.
    """
    parent = relation.parent
    owners = values_of(relation.key, rows.table)
    ordered = sorted(set(owners))
    found = read_usage(connection, relation, ordered, lock=lock)
    usages = {ordered[place]: of_parent for place, of_parent in found}
    columns = {name: values_of(parent.field(name), rows.table) for name in relation.spec.bound_fields}
    bounds = {name: [exact(value) for value in values] for name, values in columns.items()}
    for row, owner in enumerate(owners):
        for usage in usages.get(owner, ()):
            bound = usage.limit.bound
            if isinstance(bound, str):
                now = replace(usage, bound=bounds[bound][row])
                if now.is_broken:
                    yield row, lowered(relation, now, rows.place_of(row))
                    break


def refuse_beyond_bounds(connection: Connection, relation: Relation, rows: Rows, *, lock: bool) -> None:
    """Raise the error of the first record; of several with one key the last one counts."""
    last = {owner: row for row, owner in enumerate(values_of(relation.key, rows.table))}
    counting = set(last.values())
    for row, error in beyond_bounds(connection, relation, rows, lock=lock):
        if row in counting:
            raise error
