"""The filter language ``where``: one JSON object, typed by the contract, compiled to SQL with bound values only.

    {"sensor": "a", "value": {"ge": 1, "lt": 5}, "or": [{"note": {"null": true}}, {"note": {"prefix": "x"}}]}

A member of a json field is named by its path: ``{"meta.year": {"ge": 2020}}``. ``docs/where.md`` describes it for
users. Null follows SQL: a comparison with a null field is neither true nor false, so neither ``{"value": {"ne": 1}}``
nor ``{"not": {"value": 1}}`` finds records without a value. A field of a parent is named after the field that holds the
parent's key: ``{"country.population": {"gt": 1000}}``; the contract has to have those above it with it (``above``).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.contract import Contract
from gristmill.datasets.describe import shorten
from gristmill.datasets.where_operands import Operand, ParentOperand, Refused, find_operand
from gristmill.datasets.where_parents import ParentTerms
from gristmill.kit.json_pointer import escape_pointer

MAX_DEPTH = 16
MAX_CONDITIONS = 200
MAX_IN = 1000
Condition = sa.ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison; ``value`` has been read by the operand, of ``in`` and ``between`` it is a list."""

    operand: Operand
    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class All:
    """All parts hold, of which there may be none."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Any_:
    """At least one part holds."""

    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Not:
    part: "Filter"


Filter = Comparison | All | Any_ | Not


def parse_where(where: Any, contract: Contract, pointer: str = "/where") -> Filter:
    """Return what ``where`` (parsed JSON) says; None and {} match every record.

    pointer: where the filter stands in the request. Raises Invalid with a Violation for every mistake.
    """
    reader = _Reader(contract)
    found = All(()) if where is None else reader.filter(where, pointer, 1)
    if reader.violations:
        first = reader.violations[0]
        raise Invalid(f"The filter is not valid: {first.pointer}: {first.reason}", reader.violations)
    return found


def compile_where(where: Any, contract: Contract, table: sa.FromClause, pointer: str = "/where") -> Condition:
    """Return the SQL condition of ``where``, true for what it finds. Raises as ``parse_where`` does."""
    return _condition(parse_where(where, contract, pointer), table)


def _condition(found: Filter, table: sa.FromClause, holds: bool = True) -> Condition:
    """Return the SQL that is true exactly where the filter is true; or false, where it is not to hold.

    Negations are carried down to the comparisons, so that each of those only has to say where it is true: of fields of
    parents that is a semi-join.
    """
    if isinstance(found, Not):
        return _condition(found.part, table, not holds)
    every = not isinstance(found, All | Any_) or isinstance(found, All) is holds
    conditions: list[Condition] = []
    related = ParentTerms()
    for term, so in _terms(found, holds, every):
        if not isinstance(term, Comparison):
            conditions.append(_condition(term, table, so))
        elif isinstance(term.operand, ParentOperand) and (term.name != "in" or term.value):
            related.add(term.operand, term.name, term.value, so)
        else:
            # Nothing is in an empty list, and that is never unknown.
            empty = term.name == "in" and not term.value
            condition = sa.false() if empty else term.operand.condition(table, term.name, term.value)
            conditions.append(condition if so else sa.not_(condition))
    for group in related.groups():
        there = [(Comparison(one.operand, one.name, one.value), one.holds) for one in group.terms]
        parts = tuple(one if so else Not(one) for one, so in there)
        joined = All(parts) if every is not group.absent else Any_(parts)
        parent = group.table()
        found_there = group.exists(table, parent, _condition(joined, parent))
        conditions.append(sa.not_(found_there) if group.absent else found_there)
    return sa.and_(sa.true(), *conditions) if every else sa.or_(sa.false(), *conditions)


def _terms(found: Filter, holds: bool, every: bool) -> Iterator[tuple[Filter, bool]]:
    """Yield the parts that all have to be so (``every``), or one of them, and whether each is to hold."""
    match found:
        case Not(part):
            yield from _terms(part, not holds, every)
        case All(parts) | Any_(parts) if len(parts) == 1 or (isinstance(found, All) is holds) is every:
            for part in parts:
                yield from _terms(part, holds, every)
        case _:
            yield found, holds


class _Reader:
    """Collects mistakes in ``violations`` and goes on, so that one answer names them all."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self.violations: list[Violation] = []
        self.conditions = 0

    def refuse(self, pointer: str, code: str, reason: str, field: str | None = None) -> Filter:
        self.violations.append(Violation(pointer, code, reason, field=field))
        return All(())

    def filter(self, where: Any, pointer: str, depth: int) -> Filter:
        if not isinstance(where, dict):
            return self.refuse(pointer, "wrong_type", f"{shorten(where)} is not a filter: expected a JSON object")
        if depth > MAX_DEPTH:
            return self.refuse(pointer, "too_deep", f"The filter is nested deeper than {MAX_DEPTH} levels")
        return All(
            tuple(
                self.member(name, item, f"{pointer}/{escape_pointer(name[:80])}", depth) for name, item in where.items()
            )
        )

    def member(self, name: str, item: Any, pointer: str, depth: int) -> Filter:
        if name == "not":
            return Not(self.filter(item, pointer, depth + 1))
        if name in ("and", "or"):
            if not isinstance(item, list) or not item:
                return self.refuse(pointer, "wrong_type", f"{name} takes a non-empty list of filters")
            parts = tuple(self.filter(part, f"{pointer}/{index}", depth + 1) for index, part in enumerate(item))
            return All(parts) if name == "and" else Any_(parts)
        operand = self.operand(name, pointer)
        return All(()) if operand is None else All(tuple(self.comparisons(operand, item, pointer)))

    def operand(self, name: str, pointer: str) -> Operand | None:
        """Return what the name of a member stands for: a field, or a member of a json field."""
        found = find_operand(name, self.contract, pointer)
        if isinstance(found, Violation):
            self.violations.append(found)
            return None
        return found

    def comparisons(self, operand: Operand, item: Any, pointer: str) -> Iterator[Filter]:
        operators = item if isinstance(item, dict) else {"eq": item}
        if not operators:
            valid = ", ".join(operand.operators)
            yield self.refuse(pointer, "missing", f"No comparison: expected one of {valid}", operand.name)
        for name, value in operators.items():
            self.conditions += 1
            where = f"{pointer}/{escape_pointer(name[:80])}" if isinstance(item, dict) else pointer
            if self.conditions > MAX_CONDITIONS:
                # Reported once: the conditions after it are not checked.
                if self.conditions == MAX_CONDITIONS + 1:
                    self.refuse(where, "too_many", f"The filter has more than {MAX_CONDITIONS} conditions")
                return
            yield self.comparison(operand, name, value, where)

    def comparison(self, operand: Operand, name: str, value: Any, pointer: str) -> Filter:
        if name not in operand.operators:
            reason = f"{shorten(name)} is no comparison for {operand.described}: {', '.join(operand.operators)}"
            return self.refuse(pointer, "unknown_operator", reason + operand.hint(name), operand.name)
        if name == "null":
            if not isinstance(value, bool):
                reason = f"null takes true or false, not {shorten(value)}"
                return self.refuse(pointer, "wrong_type", reason, operand.name)
            return Comparison(operand, name, value)
        values = {pointer: value}
        if name in ("in", "between"):
            if name == "in" and (not isinstance(value, list) or len(value) > MAX_IN):
                return self.refuse(pointer, "wrong_type", f"in takes a list of at most {MAX_IN} values", operand.name)
            if name == "between" and (not isinstance(value, list) or len(value) != 2):
                reason = "between takes a list of two values: [from, to]"
                return self.refuse(pointer, "wrong_type", reason, operand.name)
            values = {f"{pointer}/{index}": part for index, part in enumerate(value)}
        before = len(self.violations)
        parsed = [self.value(operand, name, part, place) for place, part in values.items()]
        if len(self.violations) > before:
            return All(())
        if wrong := operand.mistake(name, parsed):
            return self.refuse(pointer, *wrong, operand.name)
        return Comparison(operand, name, parsed if name in ("in", "between") else parsed[0])

    def value(self, operand: Operand, name: str, value: Any, pointer: str) -> Any:
        """Return a canonical value; what is wrong with it is noted."""
        if value is None:
            reason = f'Nothing compares with null: use {{"{operand.name}": {{"null": true}}}}'
            return self.refuse(pointer, "null", reason, operand.name)
        try:
            return operand.parse(name, value)
        except Refused as error:
            return self.refuse(pointer, error.code, error.reason, operand.name)
