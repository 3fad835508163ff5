"""The filter language ``where``: one JSON object, typed by the contract, compiled to SQL with bound values only.

    {"sensor": "a", "value": {"ge": 1, "lt": 5}, "or": [{"note": {"null": true}}, {"note": {"prefix": "x"}}]}

``docs/where.md`` describes it for users. Null follows SQL: a comparison with a null field is neither true nor false, so
neither ``{"value": {"ne": 1}}`` nor ``{"not": {"value": 1}}`` finds records without a value.
"""

import operator
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.contract import Contract, FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import TYPES
from gristmill.datasets.types.base import COMPARISONS
from gristmill.kit.json_pointer import escape_pointer

MAX_DEPTH = 16
MAX_CONDITIONS = 200
MAX_IN = 1000
Condition = sa.ColumnElement[bool]

_COMPARE: dict[str, Callable[[Any, Any], Condition]] = {name: getattr(operator, name) for name in COMPARISONS}


def compile_where(where: Any, contract: Contract, table: sa.Table, pointer: str = "/where") -> Condition:
    """Return the SQL condition of ``where`` (parsed JSON); None and {} match every record.

    pointer: where the filter stands in the request. Raises Invalid with a Violation for every mistake.
    """
    if where is None:
        return sa.true()
    compiler = _Compiler(contract, table)
    condition = compiler.filter(where, pointer, 1)
    if compiler.violations:
        first = compiler.violations[0]
        raise Invalid(f"The filter is not valid: {first.pointer}: {first.reason}", compiler.violations)
    return condition


class _Compiler:
    """Collects mistakes in ``violations`` and goes on, so that one answer names them all."""

    def __init__(self, contract: Contract, table: sa.Table) -> None:
        self.contract = contract
        self.table = table
        self.violations: list[Violation] = []
        self.conditions = 0

    def refuse(self, pointer: str, code: str, reason: str, field: str | None = None) -> Condition:
        self.violations.append(Violation(pointer, code, reason, field=field))
        return sa.true()

    def filter(self, where: Any, pointer: str, depth: int) -> Condition:
        if not isinstance(where, dict):
            return self.refuse(pointer, "wrong_type", f"{shorten(where)} is not a filter: expected a JSON object")
        if depth > MAX_DEPTH:
            return self.refuse(pointer, "too_deep", f"The filter is nested deeper than {MAX_DEPTH} levels")
        parts = [
            self.member(name, item, f"{pointer}/{escape_pointer(name[:80])}", depth) for name, item in where.items()
        ]
        return sa.and_(sa.true(), *parts)

    def member(self, name: str, item: Any, pointer: str, depth: int) -> Condition:
        if name == "not":
            return sa.not_(self.filter(item, pointer, depth + 1))
        if name in ("and", "or"):
            if not isinstance(item, list) or not item:
                return self.refuse(pointer, "wrong_type", f"{name} takes a non-empty list of filters")
            parts = [self.filter(part, f"{pointer}/{index}", depth + 1) for index, part in enumerate(item)]
            return sa.and_(*parts) if name == "and" else sa.or_(*parts)
        if not self.contract.has_field(name):
            valid = ", ".join(field.name for field in self.contract.fields)
            reason = f"There is no field {shorten(name)}; the fields are: {valid[:400]}"
            return self.refuse(pointer, "unknown_field", reason, name)
        field = self.contract.field(name)
        return sa.and_(sa.true(), *self.field(field, item, pointer))

    def field(self, field: FieldSpec, item: Any, pointer: str) -> Iterator[Condition]:
        operators = item if isinstance(item, dict) else {"eq": item}
        if not operators:
            valid = ", ".join(TYPES[field.type].operators)
            yield self.refuse(pointer, "missing", f"No comparison: expected one of {valid}", field.name)
        for name, value in operators.items():
            self.conditions += 1
            where = f"{pointer}/{escape_pointer(name[:80])}" if isinstance(item, dict) else pointer
            if self.conditions > MAX_CONDITIONS:
                # Reported once: the conditions after it are not checked.
                if self.conditions == MAX_CONDITIONS + 1:
                    self.refuse(where, "too_many", f"The filter has more than {MAX_CONDITIONS} conditions")
                return
            yield self.condition(field, name, value, where)

    def condition(self, field: FieldSpec, name: str, value: Any, pointer: str) -> Condition:
        column = self.table.c[field.name]
        valid = TYPES[field.type].operators
        if name not in valid:
            reason = f"{shorten(name)} is no comparison for a field of type {field.type}: {', '.join(valid)}"
            return self.refuse(pointer, "unknown_operator", reason, field.name)
        if name == "null":
            if not isinstance(value, bool):
                return self.refuse(pointer, "wrong_type", f"null takes true or false, not {shorten(value)}", field.name)
            return column.is_(None) if value else column.is_not(None)
        if name == "in":
            return self.membership(field, value, pointer)
        if name == "between":
            if not isinstance(value, list) or len(value) != 2:
                return self.refuse(pointer, "wrong_type", "between takes a list of two values: [from, to]", field.name)
            low, high = (self.bind(field, part, f"{pointer}/{index}") for index, part in enumerate(value))
            return sa.and_(column >= low, column <= high)
        bound = self.bind(field, value, pointer)
        if name == "prefix":
            if not isinstance(value, str):
                return sa.true()
            pattern = value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
            return column.like(sa.literal(pattern, sa.Text()))
        return _COMPARE[name](column, bound)

    def membership(self, field: FieldSpec, value: Any, pointer: str) -> Condition:
        if not isinstance(value, list) or len(value) > MAX_IN:
            return self.refuse(pointer, "wrong_type", f"in takes a list of at most {MAX_IN} values", field.name)
        values = [self.bind(field, part, f"{pointer}/{index}") for index, part in enumerate(value)]
        return self.table.c[field.name].in_(values) if values else sa.false()

    def bind(self, field: FieldSpec, value: Any, pointer: str) -> Any:
        """Return the validated value as a bound parameter; what is wrong with it is noted."""
        parsed, kind = None, TYPES[field.type]
        # The limits of a field do not apply to comparisons: "at > 2020" is valid even where the minimum is 2021.
        plain = FieldSpec(name=field.name, type=field.type, zone=field.zone)
        if value is None:
            reason = f'Nothing compares with null: use {{"{field.name}": {{"null": true}}}}'
            self.refuse(pointer, "null", reason, field.name)
        else:
            try:
                parsed = kind.parse(plain, value)
            except ValidationError as error:
                code, reason = kind.explain(plain, error.errors()[0])
                self.refuse(pointer, code, reason, field.name)
        return sa.bindparam(None, parsed, type_=self.table.c[field.name].type, unique=True)
