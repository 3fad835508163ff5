"""The distinct values of a field, or of a member of a json field, with how many records have each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from pydantic_core import ValidationError
from sqlalchemy.dialects.postgresql import JSONB

from gristmill.core.errors import Invalid, Violation
from gristmill.core.page_tokens import bad_page_token
from gristmill.datasets.contract_parser import Contract, FieldSpec
from gristmill.datasets.json_members import member, member_text
from gristmill.datasets.types import TYPES
from gristmill.datasets.where_operands import MemberOperand, find_operand

Condition = sa.ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class Values:
    """What is counted. expression: its SQL. field: that of the values, or of which they are members."""

    field: FieldSpec
    expression: sa.ColumnElement[Any]

    def shown(self, value: Any) -> Any:
        return TYPES[self.field.type].to_json(value)


def values_of(contract: Contract, table: sa.Table, name: str) -> Values:
    """Return what ``name`` stands for. Raises Invalid where there is nothing of that name, or nothing to compare."""
    found = find_operand(name, contract, "/field")
    if isinstance(found, Violation):
        raise Invalid(found.reason, [replace(found, field=name[:80])])
    if isinstance(found, MemberOperand):
        column = table.c[found.field.name]
        at = member(column, found.path)
        # JSON's null is nothing, as in filters.
        value = sa.case((member_text(column, found.path).is_not(None), at)) if found.path else at
        return Values(found.field, sa.type_coerce(value, JSONB()))
    field = contract.field(name)
    if not TYPES[field.type].comparable:
        reason = f"The field {name} is of type {field.type}, whose values are not compared"
        raise Invalid(reason, [Violation("/field", "not_comparable", reason, field=name)])
    return Values(field, table.c[name])


def check_last(values: Values, shown: Sequence[Any]) -> tuple[Any, int]:
    """Return value and count of a page token. Raises Malformed: tokens are not signed."""
    if len(shown) != 2 or type(shown[1]) is not int or not 0 <= shown[1] < 2**63:
        raise bad_page_token(pointer="/page_token")
    try:
        value = None if shown[0] is None else TYPES[values.field.type].parse(values.field.without_bounds(), shown[0])
    except ValidationError:
        raise bad_page_token(pointer="/page_token") from None
    return value, shown[1]
