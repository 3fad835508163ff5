"""SQL of limits: what the children of a parent use of each, beside its bound.

Numbers are added up as exact decimals, floats by their shortest texts: a sum does not depend on the order of its rows,
and 0.1 + 0.2 is 0.3.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import lru_cache, reduce
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql

from gristmill.core.database import data_relation
from gristmill.core.prepared import Prepared, execute
from gristmill.datasets.contract import Contract, FieldSpec
from gristmill.datasets.parents.relations import Relation
from gristmill.datasets.parents.spec import LimitSpec
from gristmill.datasets.types import TYPES
from gristmill.kit.identifiers import quote

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
# Adds without rounding: the digits of all floats and decimals together are fewer. Python's own context keeps 28.
EXACT = Context(prec=2000, traps=[])
# Parents that one statement looks at.
_KEYS_PER_QUERY = 1000


@dataclass(frozen=True, slots=True)
class Mine:
    """The condition on ``c``, a child, that a write brings it. types: of the parameters that it has."""

    sql: str
    types: tuple[tuple[str, str], ...] = ()


NOBODYS = Mine("false")
# After a write: its children have the number of its job.
WRITTEN = Mine("c._seq = %(seq)s", (("seq", "bigint"),))


@dataclass(frozen=True, slots=True)
class Usage:
    """One limit of one parent. used: by the children that a write leaves alone. asked: by those that it writes.

    Both are None where there are no such children, or none with a value. bound: None where nothing is held back.
    """

    limit: LimitSpec
    parent: Any
    bound: Any
    used: Any
    asked: Any

    @property
    def total(self) -> Any:
        return measure_of(self.limit, (self.used, self.asked))

    @property
    def is_broken(self) -> bool:
        total = self.total
        if self.bound is None or total is None:
            return False
        return bool(total > self.bound if self.limit.is_upper else total < self.bound)


def measure_of(limit: LimitSpec, values: Iterable[Any]) -> Any:
    """Return the measure of what children have, sums exactly; None where none has a value."""
    given = [value for value in values if value is not None]
    if not given:
        return None
    if limit.adds_up:
        return reduce(EXACT.add, given, Decimal(0))
    return max(given) if limit.is_upper else min(given)


def _select(relation: Relation, mine: Mine | None, lock: bool) -> Prepared:
    """Return the statement for a list of parents; without ``mine`` it only looks whether they are there."""
    found: Prepared | None = relation.statements.get((mine, lock))
    if found is None:
        found = relation.statements[mine, lock] = _made(relation, mine, lock)
    return found


def _made(relation: Relation, mine: Mine | None, lock: bool) -> Prepared:
    child, parent, spec = relation.child, relation.parent, relation.spec
    columns, measures = [], []
    written = "" if mine is None else mine.sql
    for number, limit in enumerate(spec.limits if mine is not None else ()):
        columns += [_bound(parent, limit), f"u.used{number}", f"u.asked{number}"]
        expression = _measure(child, limit)
        measures.append(f"{expression} FILTER (WHERE NOT ({written})) AS used{number}")
        measures.append(f"{expression} FILTER (WHERE {written}) AS asked{number}")
    key, ref = quote(relation.key.name), quote(spec.field)
    usage = ""
    if measures:
        usage = (
            f"LEFT JOIN LATERAL (SELECT {', '.join(measures)} FROM {data_relation(child.name)} AS c"  # noqa: S608
            f" WHERE c.{ref} = p.{key}) AS u ON true"
        )
    # A record that counts is not changed beside those that it is compared with.
    locked = f"FOR {'NO KEY UPDATE' if measures else 'KEY SHARE'} OF p" if lock else ""
    kind = array_type(relation.key)
    sql = (
        f"SELECT {', '.join(['k.place', *columns])} FROM unnest(%(keys)s) WITH ORDINALITY AS k (key, place)"  # noqa: S608
        f" JOIN {data_relation(parent.name)} AS p ON p.{key} = k.key {usage} ORDER BY p.{key} {locked}"
    )
    return Prepared(sql, keys=kind, **(dict(mine.types) if mine and measures else {}))


def array_type(field: FieldSpec) -> str:
    """Return the type of a list of values of a field in SQL."""
    # A parameter has no collation of its own: it takes that of the column.
    return str(postgresql.ARRAY(TYPES[field.type].column(field)).compile(_DIALECT)).partition(" COLLATE ")[0]


def _bound(parent: Contract, limit: LimitSpec) -> str:
    if not isinstance(limit.bound, str):
        return f"{limit.bound!r}::numeric"
    field = parent.field(limit.bound)
    return _exact(field, f"p.{quote(field.name)}")


def _measure(child: Contract, limit: LimitSpec) -> str:
    if limit.field is None:
        return "count(*)"
    field = child.field(limit.field)
    return f"{limit.measure}({_exact(field, f'c.{quote(field.name)}')})"


def _exact(field: FieldSpec, column: str) -> str:
    return TYPES[field.type].exact.format(column)


def read_usage(
    connection: Connection,
    relation: Relation,
    keys: Sequence[Any],
    mine: Mine = NOBODYS,
    parameters: Mapping[str, Any] = MappingProxyType({}),
    *,
    lock: bool,
) -> Iterator[tuple[int, list[Usage]]]:
    """Yield the place in ``keys`` of each parent that is there, and what its children use of each limit.

    keys: canonical keys, sorted. parameters: of ``mine``. lock: lock the parents in the order of their keys until the
    transaction ends.
    """
    sql = _select(relation, mine, lock)
    kind = TYPES[relation.key.type]
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        part = keys[start : start + _KEYS_PER_QUERY]
        values = {**parameters, "keys": [kind.parameter(key) for key in part]}
        for row in execute(connection, values, sql):
            place = start + row[0] - 1
            yield (
                place,
                [
                    Usage(limit, keys[place], row[1 + 3 * number], row[2 + 3 * number], row[3 + 3 * number])
                    for number, limit in enumerate(relation.spec.limits)
                ],
            )


def find_present(connection: Connection, relation: Relation, keys: Iterable[Any], *, lock: bool) -> set[Any]:
    """Return those of the keys that parents have. keys: canonical ones. lock: as of ``read_usage``."""
    ordered = sorted(set(keys))
    kind, sql = TYPES[relation.key.type], _select(relation, None, lock)
    found: set[Any] = set()
    for start in range(0, len(ordered), _KEYS_PER_QUERY):
        part = ordered[start : start + _KEYS_PER_QUERY]
        rows = execute(connection, {"keys": [kind.parameter(key) for key in part]}, sql)
        found.update(part[row[0] - 1] for row in rows)
    return found


def find_orphan(connection: Connection, relation: Relation) -> Any:
    """Return the first key that a child names and no parent has; None where there is none."""
    ref, key = quote(relation.spec.field), quote(relation.key.name)
    query = (
        f"SELECT min(c.{ref}) FROM {data_relation(relation.child.name)} AS c WHERE c.{ref} IS NOT NULL"  # noqa: S608
        f" AND NOT EXISTS (SELECT FROM {data_relation(relation.parent.name)} AS p WHERE p.{key} = c.{ref})"
    )
    return connection.exec_driver_sql(query).scalar()


def find_broken(connection: Connection, relation: Relation, seq: int | None = None) -> Usage | None:
    """Return the first limit that the children of any parent break; None where all hold.

    seq: only the parents of children that this job wrote are looked at.
    """
    for limit in relation.spec.limits:
        row = connection.exec_driver_sql(_broken(relation, limit, seq is not None), {"seq": seq}).first()
        if row is not None:
            return Usage(limit, *row)
    return None


@lru_cache(maxsize=1000)
def _broken(relation: Relation, limit: LimitSpec, written: bool) -> str:
    child, parent = relation.child, relation.parent
    ref, key = quote(relation.spec.field), quote(relation.key.name)
    bound, measure = _bound(parent, limit), _measure(child, limit)
    mine, sign = (WRITTEN if written else NOBODYS).sql, ">" if limit.is_upper else "<"
    only = f"WHERE c.{ref} IN (SELECT {ref} FROM {data_relation(child.name)} WHERE _seq = %(seq)s)" if written else ""  # noqa: S608
    return (
        f"SELECT p.{key}, {bound}, u.used, u.asked FROM (SELECT c.{ref} AS ref, {measure} AS total,"  # noqa: S608
        f" {measure} FILTER (WHERE NOT ({mine})) AS used, {measure} FILTER (WHERE {mine}) AS asked"
        f" FROM {data_relation(child.name)} AS c {only} GROUP BY c.{ref}) AS u"
        f" JOIN {data_relation(parent.name)} AS p ON p.{key} = u.ref"
        f" WHERE u.total {sign} {bound} ORDER BY p.{key} LIMIT 1"
    )


def find_lowered(connection: Connection, relation: Relation, seq: int) -> Usage | None:
    """Return the first limit that the children of the parents break which the job ``seq`` wrote; None where all hold.

    Limits that are plain numbers do not change with the parent.
    """
    for limit in relation.spec.limits:
        if isinstance(limit.bound, str):
            row = connection.exec_driver_sql(_lowered(relation, limit), {"seq": seq}).first()
            if row is not None:
                return Usage(limit, *row)
    return None


@lru_cache(maxsize=1000)
def _lowered(relation: Relation, limit: LimitSpec) -> str:
    child, parent = relation.child, relation.parent
    ref, key, sign = quote(relation.spec.field), quote(relation.key.name), ">" if limit.is_upper else "<"
    return (
        f"SELECT p.{key}, {_bound(parent, limit)}, u.used, NULL FROM {data_relation(parent.name)} AS p"  # noqa: S608
        f" JOIN LATERAL (SELECT {_measure(child, limit)} AS used FROM {data_relation(child.name)} AS c"
        f" WHERE c.{ref} = p.{key}) AS u ON true"
        f" WHERE p._seq = %(seq)s AND u.used {sign} {_bound(parent, limit)} ORDER BY p.{key} LIMIT 1"
    )
