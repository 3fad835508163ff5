"""What a filter compares: a field, a member of a json field, or one of these of a parent; what may be asked of it, with
which values."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from pydantic_core import ValidationError

from gristmill.core.errors import Violation
from gristmill.datasets.contract import Contract, FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.json_members import MemberType, split_path, type_of
from gristmill.datasets.types import TYPES
from gristmill.datasets.types.base import COMPARISONS, TEXT_OPERATORS
from gristmill.datasets.where_members import ORDERS, member_condition, member_test
from gristmill.datasets.where_text import text_column_test, text_condition

Condition = sa.ColumnElement[bool]
# What may be asked of a member, by the type that it is declared as; "" for one that is not declared.
_MEMBER_OPERATORS: dict[str, tuple[str, ...]] = {
    "": (*COMPARISONS, "in", "between", *TEXT_OPERATORS, "null"),
    "text": (*COMPARISONS, "in", "between", *TEXT_OPERATORS, "null"),
    "number": (*COMPARISONS, "in", "between", "null"),
    "boolean": ("eq", "ne", "in", "null"),
}

_ARROW = {
    "eq": pc.equal,
    "ne": pc.not_equal,
    "lt": pc.less,
    "le": pc.less_equal,
    "gt": pc.greater,
    "ge": pc.greater_equal,
}


class Refused(Exception):
    """A value that does not compare with the operand."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Operand(ABC):
    """name: as the filter has it. operators: the comparisons that may be asked. described: what it is, in words."""

    name: str
    operators: tuple[str, ...]
    described: str

    @abstractmethod
    def parse(self, operator: str, value: Any) -> Any:
        """Return ``value``, not null, as the comparison takes it. Raises Refused."""

    @abstractmethod
    def condition(self, table: sa.FromClause, operator: str, value: Any) -> Condition:
        """Return the SQL of a comparison; of ``in`` and ``between`` the value is the list of the parsed values."""

    @abstractmethod
    def test(self, table: pa.Table, operator: str, value: Any) -> Any:
        """Return the same for columns in memory, as payloads have them: booleans, null where it is unknown."""

    def hint(self, operator: str) -> str:
        """Return what else may have been meant by an operator that there is not, or nothing."""
        return ""

    def mistake(self, operator: str, values: Sequence[Any]) -> tuple[str, str] | None:
        """Return code and reason if the parsed values do not go together."""
        return None


class FieldOperand(Operand):
    """A field of any type but json."""

    def __init__(self, field: FieldSpec) -> None:
        self.name, self.operators = field.name, TYPES[field.type].operators
        self.described = f"a field of type {field.type}"
        self._kind, self._field = TYPES[field.type], field
        # The limits of a field do not apply to comparisons: "at > 2020" is valid even where the minimum is 2021.
        self._plain = FieldSpec(name=field.name, type=field.type, zone=field.zone, normalize=field.normalize)

    def parse(self, operator: str, value: Any) -> Any:
        try:
            return self._kind.parse(self._plain, value)
        except ValidationError as error:
            raise Refused(*self._kind.explain(self._plain, error.errors()[0])) from error

    def condition(self, table: sa.FromClause, name: str, value: Any) -> Condition:
        column = table.c[self.name]

        def bind(one: Any) -> sa.BindParameter[Any]:
            return sa.bindparam(None, one, type_=column.type, unique=True)

        if name == "null":
            return column.is_(None) if value else column.is_not(None)
        if name in TEXT_OPERATORS:
            return text_condition(name, column, value)
        if name == "in":
            return column.in_([bind(part) for part in value]) if value else sa.false()
        if name == "between":
            return sa.and_(column >= bind(value[0]), column <= bind(value[1]))
        condition: Condition = getattr(operator, name)(column, bind(value))
        return condition

    def test(self, table: pa.Table, name: str, value: Any) -> Any:
        column, kind, field = table.column(self.name), self._kind, self._field
        if name == "null":
            return pc.is_null(column) if value else pc.is_valid(column)
        if name in TEXT_OPERATORS:
            return text_column_test(name, column, value)
        column = kind.to_compare(column)
        if name == "in":
            if not value:
                return pa.scalar(False)
            found = pc.is_in(column, value_set=kind.to_compare(kind.to_column(field, value)))
            return pc.if_else(pc.is_valid(column), found, pa.scalar(None, pa.bool_()))
        if name == "between":
            low, high = kind.to_compare(kind.to_column(field, value))
            return pc.and_kleene(pc.greater_equal(column, low), pc.less_equal(column, high))
        return _ARROW[name](column, kind.to_compare(kind.to_column(field, [value]))[0])


class MemberOperand(Operand):
    """A member of a json field, or with an empty path the field itself."""

    def __init__(self, name: str, field: FieldSpec, path: Sequence[str] = ()) -> None:
        self.name, self.field, self.path = name, field, tuple(path)
        self._plain = FieldSpec(name=field.name, type=field.type)
        self._declared: MemberType | None = field.declared_members.get(self.path)
        self.operators = _MEMBER_OPERATORS[self._declared or ""] if path else TYPES[field.type].operators
        self.described = f"a member declared as {self._declared}" if self._declared else "a member of a json field"
        if not path:
            self.described = "a field of type json"

    def hint(self, operator: str) -> str:
        return f". A member of it is named as {self.name}.{shorten(operator).strip(chr(34))}"

    def parse(self, name: str, value: Any) -> Any:
        kind = type_of(value)
        try:
            value = TYPES[self._plain.type].parse(self._plain, value)
        except ValidationError as error:
            raise Refused(*TYPES[self._plain.type].explain(self._plain, error.errors()[0])) from error
        if self._declared is not None and kind != self._declared:
            raise Refused("wrong_type", f"{shorten(value)} is no {self._declared}, as {self.name} is declared")
        if name in TEXT_OPERATORS and name != "contains" and kind != "text":
            raise Refused("wrong_type", f"{name} takes a text, not {shorten(value)}")
        if name in ORDERS and kind not in ("text", "number"):
            raise Refused(
                "wrong_type", f"{name} takes a text or a number, not {shorten(value)}: nothing else is ordered"
            )
        if name == "in" and kind is None:
            raise Refused("wrong_type", f"in takes texts, numbers, true and false, not {shorten(value)}")
        return value

    def mistake(self, name: str, values: Sequence[Any]) -> tuple[str, str] | None:
        if name == "between" and type_of(values[0]) != type_of(values[1]):
            shown = " and ".join(map(shorten, values))
            return "wrong_type", f"between takes two texts or two numbers, not {shown}"
        return None

    def condition(self, table: sa.FromClause, name: str, value: Any) -> Condition:
        column = table.c[self.field.name]
        return member_condition(column, self.path, name, value, indexed=self._declared is not None)

    def test(self, table: pa.Table, name: str, value: Any) -> Any:
        return member_test(table.column(self.field.name), self.path, name, value)


class ParentOperand(Operand):
    """Something of a record's parent. ``condition`` is never asked of it: see ``where_parents``.

    field: of the child, with the parent's key. parent: the contract of the parent's dataset. inner: what is compared
    there.
    """

    def __init__(self, name: str, field: FieldSpec, parent: Contract, inner: Operand) -> None:
        self.name, self.field, self.parent, self.inner = name, field, parent, inner
        self.operators = inner.operators
        self.described = f"{inner.described} of {parent.name}"

    def parse(self, name: str, value: Any) -> Any:
        return self.inner.parse(name, value)

    def mistake(self, name: str, values: Sequence[Any]) -> tuple[str, str] | None:
        return self.inner.mistake(name, values)

    def hint(self, operator: str) -> str:
        return self.inner.hint(operator)

    def condition(self, table: sa.FromClause, name: str, value: Any) -> Condition:
        raise NotImplementedError(self.name)

    def test(self, table: pa.Table, name: str, value: Any) -> Any:
        raise NotImplementedError(self.name)


def find_operand(name: str, contract: Contract, pointer: str) -> Operand | Violation:
    """Return what ``name`` stands for in a filter, or what is wrong with it. pointer: where it stands."""
    field_name, divided, path = name.partition(".")
    if contract.has_field(name):
        field_name, divided = name, ""
    if not contract.has_field(field_name):
        valid = ", ".join(field.name for field in contract.fields)
        return Violation(
            pointer,
            "unknown_field",
            f"There is no field {shorten(field_name)}; the fields are: {valid[:400]}",
            field=name,
        )
    field = contract.field(field_name)
    if not divided:
        return MemberOperand(name, field) if TYPES[field.type].nests else FieldOperand(field)
    if field_name in contract.above:
        return _of_parent(name, field, contract.above[field_name], path, pointer)
    if not TYPES[field.type].nests:
        reason = (
            f"The field {field_name} is of type {field.type}: only json fields have members, named after a dot, and "
            "in filters of stored records fields that hold the key of a parent"
        )
        return Violation(pointer, "unknown_field", reason, field=name)
    try:
        names = split_path(path)
    except ValueError as error:
        return Violation(pointer, "bad_path", f"{shorten(name)} is no path: {error}", field=name)
    return MemberOperand(name, field, names)


def _of_parent(name: str, field: FieldSpec, parent: Contract, path: str, pointer: str) -> Operand | Violation:
    found = find_operand(path, parent, pointer)
    if isinstance(found, Violation):
        reason = f"{field.name} names a record of {parent.name}: {found.reason}"
        return Violation(pointer, found.code, reason, field=name)
    return ParentOperand(name, field, parent, found)
