"""The rows of a statement that is put together step by step, each a common table expression over the one before it.

Within it columns have labels of their own (``c0``, ``t``, ``k1``): names that users chose stand in its last step only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gristmill.datasets.contract import FieldSpec


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the result. label: its name in SQL. edge: where a bucket begins or ends, shown in the zone."""

    field: FieldSpec
    label: str
    edge: bool = False

    @property
    def name(self) -> str:
        return self.field.name


@dataclass(frozen=True, slots=True)
class Relation:
    """Rows with their order.

    steps: the expressions, the last one of them being ``name``. time: the label that windows of time follow. sequence:
    labels in whose order rows follow one another; among them that of the time. order: (label, descending), total as far
    as rows differ. unique: labels that tell rows apart, None where none do.
    """

    steps: tuple[str, ...]
    columns: tuple[Column, ...]
    time: str | None
    sequence: tuple[str, ...]
    order: tuple[tuple[str, bool], ...]
    unique: frozenset[str] | None

    @property
    def name(self) -> str:
        return f"r{len(self.steps) - 1}"

    @property
    def hidden(self) -> list[str]:
        """Labels that are needed for the order alone."""
        shown = {column.label for column in self.columns}
        needed = dict.fromkeys([*self.sequence, *(label for label, _ in self.order)])
        return [label for label in needed if label not in shown]

    @property
    def labels(self) -> list[str]:
        return [*(column.label for column in self.columns), *self.hidden]

    def then(self, select: str, columns: Sequence[Column] | None = None) -> "Relation":
        """Return the rows of ``select``, which reads those of this one."""
        step = f"r{len(self.steps)} AS ({select})"
        return replace(self, steps=(*self.steps, step), columns=self.columns if columns is None else tuple(columns))

    def column(self, name: str) -> Column:
        """Raises StopIteration: names are checked before."""
        return next(column for column in self.columns if column.name == name)

    def order_by(self) -> str:
        """Return the clause of the order, or nothing."""
        if not self.order:
            return ""
        return " ORDER BY " + ", ".join(f"{label} DESC" if down else label for label, down in self.order)

    def select(self, what: str, rest: str = "") -> str:
        """Return the statement that selects ``what`` of the rows."""
        return f"WITH {', '.join(self.steps)} SELECT {what} FROM {self.name}{rest}"
