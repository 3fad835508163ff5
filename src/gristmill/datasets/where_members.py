"""Comparisons of members of json fields in filters: what may be asked, the SQL of it, and the same in memory."""

import operator
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from pydantic_core import from_json
from sqlalchemy.dialects.postgresql import JSONB

from gristmill.datasets.json_members import (
    INDEXED_CHARACTERS,
    Expression,
    MemberType,
    beginning,
    find_member,
    member,
    member_text,
    type_of,
    typed_member,
)
from gristmill.datasets.types.base import TEXT_OPERATORS
from gristmill.datasets.types.json import dump_json
from gristmill.datasets.where_text import text_condition, text_test

Condition = sa.ColumnElement[bool]
Truth = bool | None
ORDERS = ("lt", "le", "gt", "ge", "between")
_WEAK = {"lt": operator.le, "gt": operator.ge}
_SQL_TYPES: dict[MemberType, sa.types.TypeEngine[Any]] = {
    "text": sa.Text(),
    "number": sa.Numeric(),
    "boolean": sa.Boolean(),
}


def member_condition(column: Expression, path: Sequence[str], name: str, value: Any, indexed: bool) -> Condition:
    """Return the SQL of the comparison ``name`` of the member at ``path`` with ``value``, both checked.

    indexed: the member is declared, so that the condition is to be one that its index serves.
    """
    if name == "null":
        text = member_text(column, path) if path else column
        return text.is_(None) if value else text.is_not(None)
    if name == "contains":
        return _contains(column, path, value)
    if name == "in":
        kinds = {type_of(part): [one for one in value if type_of(one) == type_of(part)] for part in value}
        parts = [_compare(column, path, kind, "in", values, indexed) for kind, values in kinds.items() if kind]
        return sa.or_(sa.false(), *parts)
    kind = type_of(value[0] if name == "between" else value)
    if kind is None:
        return _compare_whole(column, path, name, value)
    return _compare(column, path, kind, name, value, indexed)


def _contains(column: Expression, path: Sequence[str], value: Any) -> Condition:
    found = member(column, path)
    holds = found.op("@>", return_type=sa.Boolean())(_jsonb(value))
    cases: list[Any] = []
    if path:
        # JSON's null is nothing.
        cases.append((member_text(column, path).is_(None), sa.null()))
    if isinstance(value, str):
        text = sa.collate(member_text(column, path), "C")
        cases.append((sa.func.jsonb_typeof(found) == "string", text_condition("contains", text, value)))
    return sa.case(*cases, else_=holds) if cases else holds


def _compare_whole(column: Expression, path: Sequence[str], name: str, value: Any) -> Condition:
    """Return the SQL that compares with a list or an object."""
    found = member(column, path)
    same = getattr(operator, name)(found, _jsonb(value))
    kind = "array" if isinstance(value, list) else "object"
    return sa.case((sa.func.jsonb_typeof(found) == kind, same))


def _compare(
    column: Expression, path: Sequence[str], kind: MemberType, name: str, value: Any, indexed: bool
) -> Condition:
    typed = typed_member(column, path, kind)
    exact = _apply(typed, kind, name, value)
    if not indexed or kind != "text" or name in ("ne", "contains", "icontains"):
        return exact
    # The index holds the beginnings of texts, which find a few more records than there are.
    return sa.and_(_apply(beginning(typed), kind, name, value, cut=True), exact)


def _apply(left: Expression, kind: MemberType, name: str, value: Any, cut: bool = False) -> Condition:
    def bind(one: Any) -> Expression:
        one = one[:INDEXED_CHARACTERS] if cut else one
        return sa.bindparam(None, as_decimal(one) if kind == "number" else one, _SQL_TYPES[kind], unique=True)

    if name == "in":
        return left.in_([bind(one) for one in value])
    if name == "between":
        return sa.and_(left >= bind(value[0]), left <= bind(value[1]))
    if name in TEXT_OPERATORS:
        return text_condition(name, left, value[:INDEXED_CHARACTERS] if cut else value)
    compare = _WEAK.get(name, getattr(operator, name)) if cut else getattr(operator, name)
    condition: Condition = compare(left, bind(value))
    return condition


def _jsonb(value: Any) -> Expression:
    return sa.cast(sa.literal(dump_json(value), sa.Text()), JSONB())


def as_decimal(number: Any) -> Decimal:
    """Return a number of JSON as jsonb keeps it."""
    return Decimal(dump_json(number))


def member_test(column: pa.ChunkedArray, path: Sequence[str], name: str, value: Any) -> pa.Array:
    """Return the same comparison for a column of JSON texts."""
    holds = _truth(name, value)
    values = (None if text is None else from_json(text) for text in column.to_pylist())
    return pa.array([holds(find_member(one, path)) for one in values], pa.bool_())


def _truth(name: str, value: Any) -> Callable[[Any], Truth]:
    """Return the function that says of what stands at the path whether the comparison holds; None: it is unknown."""
    if name == "null":
        return lambda found: (found is None) is value
    if name == "in":
        tests = [_truth("eq", one) for one in value]
        return lambda found: _any([test(found) for test in tests])
    if name == "contains":
        if isinstance(value, str):
            return lambda found: value in found if isinstance(found, str) else _holds(found, value)
        return lambda found: _holds(found, value)
    first = value[0] if name == "between" else value
    kind = type_of(first)
    if kind is None:
        compare = _same if name == "eq" else lambda found, other: not _same(found, other)
        return lambda found: compare(found, value) if type(found) is type(value) else None
    if name in TEXT_OPERATORS:
        holds = text_test(name, value)
    elif name == "between":
        low, high = value
        holds = lambda found: low <= found <= high  # noqa: E731 - one of three
    else:
        holds = lambda found: bool(getattr(operator, name)(found, value))  # noqa: E731
    return lambda found: holds(found) if type_of(found) == kind else None


def _any(parts: list[Truth]) -> Truth:
    return True if True in parts else (None if None in parts else False)


def _holds(found: Any, value: Any) -> Truth:
    """Say whether ``found`` contains ``value`` as jsonb's operator @> has it."""
    if found is None:
        return None
    if isinstance(found, list) and not isinstance(value, list | dict):
        return any(_same(one, value) for one in found)
    return _covers(found, value)


def _covers(found: Any, value: Any) -> bool:
    if isinstance(found, dict) and isinstance(value, dict):
        return all(name in found and _covers(found[name], one) for name, one in value.items())
    if isinstance(found, list) and isinstance(value, list):
        return all(any(_covers(mine, one) for mine in found) for one in value)
    return not isinstance(value, dict | list) and _same(found, value)


def _same(one: Any, other: Any) -> bool:
    """Say whether two JSON values are equal; true is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, bool) is isinstance(other, bool) and type_of(one) == type_of(other) and one == other
