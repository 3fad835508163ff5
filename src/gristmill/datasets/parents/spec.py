"""Parents as users write them in a contract."""

from collections.abc import Collection
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Measure = Literal["sum", "count", "min", "max"]
Reaction = Literal["refuse", "cascade"]
"""What becomes of children whose parent is deleted or gets another key."""


def _is_none(value: Any) -> bool:
    return value is None


class LimitSpec(BaseModel):
    """What the children of one parent keep together: one measure of them, and one bound.

    sum, min, max: the field of the children that is measured; count: true. at_most, at_least: a field of the parent, or
    a number. A bound that is null holds nothing back, and so does a minimum or maximum of no children.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    sum: str | None = Field(None, exclude_if=_is_none)
    count: bool | None = Field(None, exclude_if=_is_none)
    min: str | None = Field(None, exclude_if=_is_none)
    max: str | None = Field(None, exclude_if=_is_none)
    at_most: Any = Field(None, exclude_if=_is_none)
    at_least: Any = Field(None, exclude_if=_is_none)

    @property
    def measures(self) -> list[Measure]:
        """The measures that are named; a checked limit has one."""
        names: tuple[Measure, ...] = ("sum", "count", "min", "max")
        return [name for name in names if getattr(self, name) is not None]

    @property
    def measure(self) -> Measure:
        return self.measures[0]

    @property
    def field(self) -> str | None:
        """The field of the children that is measured; None for a count."""
        value = getattr(self, self.measure)
        return value if isinstance(value, str) else None

    @property
    def is_upper(self) -> bool:
        return self.at_most is not None

    @property
    def bound(self) -> str | int | float:
        """The name of a field of the parent, or a number."""
        found: str | int | float = self.at_most if self.at_most is not None else self.at_least
        return found

    @property
    def adds_up(self) -> bool:
        """Whether every child counts, as in a sum, or only the one that goes furthest."""
        return self.measure in ("sum", "count")

    def describe(self) -> str:
        """Return the limit in words: ``sum of area is at most area of the parent``."""
        what = self.measure if self.field is None else f"{self.measure} of {self.field}"
        bound = f"{self.bound} of the parent" if isinstance(self.bound, str) else str(self.bound)
        return f"{what} is at {'most' if self.is_upper else 'least'} {bound}"


class ParentSpec(BaseModel):
    """The parent of a record: the record of ``dataset`` whose key is in ``field``; null there means none.

    on_delete, on_rename: what becomes of the children when the parent is deleted, or its key is changed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    field: str
    dataset: str
    on_delete: Reaction = "refuse"
    on_rename: Reaction = "refuse"
    limits: tuple[LimitSpec, ...] = Field((), exclude_if=lambda value: not value)

    @property
    def measured_fields(self) -> frozenset[str]:
        """Names of the fields of a child that its limits measure."""
        return frozenset(limit.field for limit in self.limits if limit.field is not None)

    def is_touched_by(self, fields: Collection[str]) -> bool:
        """Say whether a change of these fields of a child may change its parent, or what its limits measure."""
        return not self.measured_fields.union([self.field]).isdisjoint(fields)

    @property
    def bound_fields(self) -> frozenset[str]:
        """Names of the fields of a parent that are bounds."""
        return frozenset(limit.bound for limit in self.limits if isinstance(limit.bound, str))
