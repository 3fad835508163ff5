"""The order of a page of records, and the keyset predicate that continues after its last record.

Nulls sort as the largest value: last when ascending, first when descending, which is the default of Postgres. The order
always ends in the key (or, without one, in the place of submission), so that it is total and no page repeats or skips a
record.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from pydantic_core import ValidationError

from gristmill.core.errors import Invalid, Violation
from gristmill.core.page_tokens import bad_page_token
from gristmill.datasets.contract_parser import Contract
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import TYPES

SUBMISSION = ("_seq", "_ord")


@dataclass(frozen=True, slots=True)
class Term:
    """One column of the order. ``nullable`` says whether nulls can occur among the rows that are read."""

    column: str
    descending: bool = False
    nullable: bool = False


def parse_order(
    text: str | None, contract: Contract, default: Sequence[Term] = (), pointer: str = "/query/order"
) -> tuple[Term, ...]:
    """Return the terms of ``text`` (``field,-other``; a minus sorts descending), completed to a total order.

    ``default`` serves when ``text`` is None. pointer: where the text stands in the request. Raises Invalid for fields
    that are unknown, repeated or have no order.
    """
    terms = list(default) if text is None else _read(text, contract, pointer)
    named = {term.column for term in terms}
    # The tail follows the direction of the last term, so that one index can serve the whole order.
    descending = bool(terms) and terms[-1].descending
    tail = contract.key or SUBMISSION
    return (*terms, *(Term(name, descending) for name in tail if name not in named))


def _read(text: str, contract: Contract, pointer: str) -> list[Term]:
    terms: list[Term] = []
    violations: list[Violation] = []
    for part in text.split(","):
        name = part.strip().removeprefix("-")
        if not contract.has_field(name):
            valid = ", ".join(field.name for field in contract.fields if TYPES[field.type].comparable)
            violations.append(
                _place(pointer, f"There is no field {shorten(name)} to order by; the valid ones are: {valid}", name)
            )
            continue
        field = contract.field(name)
        if not TYPES[field.type].comparable:
            violations.append(_place(pointer, f"The field {name} has the type {field.type}, which has no order", name))
        elif any(term.column == name for term in terms):
            violations.append(_place(pointer, f"The field {name} is named twice", name))
        else:
            terms.append(Term(name, part.strip().startswith("-"), not field.required))
    if violations:
        raise Invalid(f"order={shorten(text)} is not valid: {violations[0].reason}", violations)
    return terms


def _place(pointer: str, reason: str, name: str) -> Violation:
    return Violation(pointer, "bad_order", reason, field=name[:80])


def order_by(terms: Sequence[Term], table: sa.Table) -> list[sa.ColumnElement[Any]]:
    return [table.c[term.column].desc() if term.descending else table.c[term.column].asc() for term in terms]


def after(terms: Sequence[Term], values: Sequence[Any], table: sa.Table) -> sa.ColumnElement[bool]:
    """Return the predicate of the rows that come after the row whose order columns hold ``values``."""
    columns = [table.c[term.column] for term in terms]
    bound = [sa.literal(value, column.type) for column, value in zip(columns, values, strict=True)]
    if not any(term.nullable for term in terms) and len({term.descending for term in terms}) == 1:
        # A row comparison is one range of an index; the general form below is not.
        row, last = sa.tuple_(*columns), sa.tuple_(*bound)
        return row < last if terms[0].descending else row > last
    alternatives: list[sa.ColumnElement[bool]] = []
    equal: list[sa.ColumnElement[bool]] = []
    for term, column, value, literal in zip(terms, columns, values, bound, strict=True):
        further = _further(term, column, value, literal)
        if further is not None:
            alternatives.append(sa.and_(*equal, further))
        equal.append(column.is_(None) if value is None else column == literal)
    return sa.or_(sa.false(), *alternatives)


def _further(
    term: Term, column: sa.Column[Any], value: Any, literal: sa.ColumnElement[Any]
) -> sa.ColumnElement[bool] | None:
    """Return what is beyond ``value`` in one column; None if nothing is."""
    if term.descending:
        return column.is_not(None) if value is None else column < literal
    if value is None:
        return None
    return sa.or_(column > literal, column.is_(None)) if term.nullable else column > literal


def show_values(terms: Sequence[Term], row: Any, contract: Contract) -> list[Any]:
    """Return the order values of ``row`` (a mapping of canonical values) as JSON scalars for a page token."""
    return [
        TYPES[contract.field(term.column).type].to_json(row[term.column])
        if contract.has_field(term.column)
        else row[term.column]
        for term in terms
    ]


def read_values(terms: Sequence[Term], shown: Sequence[Any], contract: Contract) -> list[Any]:
    """Return the canonical values of a page token's JSON scalars. Raises Malformed: tokens are not signed."""
    if len(shown) != len(terms):
        raise bad_page_token("the page token belongs to another query")
    values: list[Any] = []
    for term, value in zip(terms, shown, strict=True):
        if contract.has_field(term.column):
            field = contract.field(term.column)
            try:
                # Limits may be stricter than what an older version of the contract accepted.
                fitting = field.without_bounds()
                values.append(None if value is None else TYPES[field.type].parse(fitting, value))
            except ValidationError:
                raise bad_page_token() from None
        elif isinstance(value, int) and abs(value) < 2**63:
            values.append(value)
        else:
            raise bad_page_token()
    return values
