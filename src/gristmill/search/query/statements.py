"""The whole statement of a search: a ranking, cut to the page that is wanted, joined to the records.

Text is put together here rather than by SQLAlchemy, whose building and compiling took longer than all else of a search.
It is made of constants, of names of the contract (quoted) and of conditions that ``compile_where`` made, whose values
are bound like all others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import psycopg2

from gristmill.core.database import data_relation
from gristmill.datasets.contract_parser import Contract
from gristmill.datasets.types import TYPES
from gristmill.kit.identifiers import quote
from gristmill.search.query import hybrid, text, vector
from gristmill.search.query.vector import Ranges, vector_bytes

Mode = Literal["vector", "text", "hybrid"]
_DIALECT = psycopg2.dialect()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition as text with named parameters, and their values. No text: no condition."""

    sql: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)


NOTHING = Condition()


def condition_of(*expressions: sa.ColumnElement[bool] | None) -> Condition:
    """Return what all of the expressions say as text for psycopg2; None says nothing."""
    given = [expression for expression in expressions if expression is not None]
    if not given:
        return NOTHING
    compiled = sa.and_(*given).compile(dialect=_DIALECT)
    values: dict[str, Any] = {}
    for name, bind in compiled.binds.items():
        to_driver = bind.type.dialect_impl(_DIALECT).bind_processor(_DIALECT)
        values[name] = bind.effective_value if to_driver is None else to_driver(bind.effective_value)
    return Condition(str(compiled), values)


@dataclass(frozen=True, slots=True)
class Shape:
    """What makes the text of a statement, apart from the dataset.

    limited: only places up to ``most``. after: only places after the last one of the page before.
    all_ranked: false ranks some of the records that match a text, for when ranking all takes too long.
    """

    mode: Mode
    ranges: Ranges
    where: str = ""
    limited: bool = False
    after: bool = False
    embedding: bool = False
    all_ranked: bool = True


class Layout:
    """What searches need to know of one version of a dataset's contract, worked out once."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.table = data_relation(contract.name)
        self.dimensions = contract.vector_dimensions or 0
        self.vector_bytes = vector_bytes(contract.vector_storage, self.dimensions)
        self._names = [column.name for column in contract.columns]
        self._members = [(column.name, TYPES[column.type].shown_by) for column in contract.columns]
        # Statements of equal shape are equal: the cache spares making them, with the layout it goes away.
        self.statement = lru_cache(maxsize=256)(self._statement)

    def width(self, embedding: bool) -> int:
        """Return how many columns of a row are the record's."""
        return len(self.contract.columns if embedding else self.contract.fields)

    def record(self, row: Sequence[Any], embedding: bool) -> dict[str, Any]:
        """Return the record whose values begin ``row``, as JSON has it."""
        members = self._members[: self.width(embedding)]
        return {
            name: value if show is None or value is None else show(value)
            for (name, show), value in zip(members, row, strict=False)
        }

    def _statement(self, shape: Shape) -> str:
        """Return the text. Rows: the record's columns, _id, place, then what ``EXTRAS`` of the mode says, n, within.

        place: what is ranked by, smaller first: the distance, or the negative score. n: how many records the ranking
        by distance (or else by words) holds. within: how many of these are not beyond ``most``.
        There is always a row; where nothing is found its _id is null.
        """
        names = self._names[: self.width(shape.embedding)]
        columns = ", ".join(f"t.{quote(name)}" for name in names)
        extras = "".join(f", p.{name}" for name in EXTRAS[shape.mode])
        within = "count(*) FILTER (WHERE place <= %(most)s)" if shape.limited else "count(*)"
        counted = "near" if shape.mode == "hybrid" else "ranked"
        conditions = ["true"]
        if shape.limited:
            conditions.append("place <= %(most)s")
        if shape.after:
            conditions.append("(place, _id) > (%(after_place)s::float8, %(after_id)s)")
        return (
            f"WITH {self._ranking(shape)}, counted AS (SELECT count(*) AS n, {within} AS within FROM {counted})"
            f" SELECT {columns}, p._id, p.place{extras}, counted.n, counted.within FROM counted LEFT JOIN ("
            "(SELECT * FROM (SELECT * FROM ranked ORDER BY place, _id LIMIT %(k)s) AS best"
            f" WHERE {' AND '.join(conditions)} ORDER BY place, _id LIMIT %(size)s) AS p"
            f" JOIN {self.table} AS t ON t._id = p._id) ON true ORDER BY p.place, p._id"
        )

    def _ranking(self, shape: Shape) -> str:
        if shape.mode == "text":
            words = text.matching(self.contract, self.table, shape.where, "%(limit)s", all_ranked=shape.all_ranked)
            return f"ranked AS MATERIALIZED (SELECT _id, -score AS place FROM ({words}) AS words)"
        nearest = vector.nearest(self.contract, self.table, shape.ranges, shape.where)
        if shape.mode == "hybrid":
            words = text.matching(self.contract, self.table, shape.where, "%(depth)s", all_ranked=shape.all_ranked)
            return f"{nearest}, {hybrid.fused(words)}"
        return (
            f"{nearest}, ranked AS MATERIALIZED (SELECT _id, distance AS place FROM nearest"
            " ORDER BY place, _id LIMIT %(limit)s)"
        )


# Columns between place and n.
EXTRAS: dict[Mode, tuple[str, ...]] = {
    "vector": (),
    "text": (),
    "hybrid": ("distance", "near_rank", "words_rank"),
}
