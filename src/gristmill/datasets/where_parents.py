"""Comparisons with fields of parents in filters: one semi-join for all comparisons with the same parent.

A record without a parent, or whose parent has no value there, compares as null does. EXISTS is true where the
comparison is, and false where it is false or unknown, so it may only stand where nothing negates it: ``where`` sees to
that. What asks for nothing (``null``) is never unknown: it is true where there is no parent that has something there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles

from gristmill.datasets.ddl import record_table
from gristmill.datasets.where_operands import Operand, ParentOperand

Condition = sa.ColumnElement[bool]


class _Outer(sa.ColumnElement[Any]):
    """A column of the statement around a subquery: it does not make its table one of those of the subquery."""

    inherit_cache = False

    def __init__(self, column: sa.ColumnElement[Any]) -> None:
        self.column, self.type = column, column.type


@compiles(_Outer)
def _outer(element: _Outer, compiler: Any, **options: Any) -> str:
    text: str = compiler.process(element.column, **options)
    return text


@dataclass(frozen=True, slots=True)
class ParentTerm:
    """A comparison as the parent's contract has it, and whether it is to hold or not to hold."""

    operand: Operand
    name: str
    value: Any
    holds: bool


@dataclass(slots=True)
class ParentGroup:
    """Comparisons with one parent of a record. absent: no parent is to be there of which they are true."""

    operand: ParentOperand
    absent: bool
    terms: list[ParentTerm]

    def table(self) -> sa.FromClause:
        """Return the table of the parents under a name of its own: one table may be there several times."""
        return record_table(self.operand.parent).alias()

    def exists(self, child: sa.FromClause, parent: sa.FromClause, condition: Condition) -> Condition:
        """Return the SQL that is true of a child whose parent fulfils the condition."""
        key, ref = parent.c[self.operand.parent.key[0]], _Outer(child.c[self.operand.field.name])
        return sa.exists(sa.select(sa.literal_column("1")).select_from(parent).where(key == ref, condition))


class ParentTerms:
    """The comparisons of one conjunction or disjunction, by the parent that they are of."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, bool], ParentGroup] = {}

    def add(self, operand: ParentOperand, name: str, value: Any, holds: bool) -> None:
        absent = False
        if name == "null":
            # Either asks for a parent that has something there.
            absent, value, holds = value is holds, False, True
        group = self._groups.setdefault((operand.field.name, absent), ParentGroup(operand, absent, []))
        group.terms.append(ParentTerm(operand.inner, name, value, holds))

    def groups(self) -> Iterator[ParentGroup]:
        yield from self._groups.values()
