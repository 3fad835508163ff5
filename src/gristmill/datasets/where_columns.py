"""The filter language ``where`` over Arrow columns, in memory, with the meaning that it has in SQL.

``where`` alone reads filters: the condition that it makes for Postgres is evaluated here, node by node, in three-valued
logic. A property test holds both against each other on a real Postgres.
"""

import functools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy.sql import elements, operators

from gristmill.datasets.contract import Contract, FieldSpec
from gristmill.datasets.ddl import record_table
from gristmill.datasets.types import TYPES
from gristmill.datasets.where import compile_where

_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_COMPARE: dict[Any, Callable[[Any, Any], Any]] = {
    operators.eq: pc.equal,
    operators.ne: pc.not_equal,
    operators.lt: pc.less,
    operators.le: pc.less_equal,
    operators.gt: pc.greater,
    operators.ge: pc.greater_equal,
}


def compile_columns(
    where: Any, fields: tuple[FieldSpec, ...], pointer: str = "/where"
) -> Callable[[pa.Table], npt.NDArray[np.bool_]]:
    """Return a function that says of each row of a table whether ``where`` (parsed JSON) finds it.

    fields: the columns that there may be, in the form that payloads have. Raises Invalid as ``compile_where`` does.
    """
    contract = Contract(name="columns", fields=fields)
    condition = compile_where(where, contract, record_table(contract), pointer)

    def find(table: pa.Table) -> npt.NDArray[np.bool_]:
        found = _evaluate(condition, table, contract)
        if isinstance(found, pa.Scalar):
            return np.full(table.num_rows, bool(found.as_py()))
        # Neither true nor false is not found.
        mask: npt.NDArray[np.bool_] = pc.fill_null(found, False).to_numpy(zero_copy_only=False)
        return mask

    return find


def _evaluate(node: Any, table: pa.Table, contract: Contract) -> Any:
    """Return the truth of ``node`` for each row, null where it is unknown; a scalar where it is the same for all."""
    match node:
        case elements.True_() | elements.False_():
            return pa.scalar(isinstance(node, elements.True_))
        case elements.Grouping():
            return _evaluate(node.element, table, contract)
        case elements.BooleanClauseList():
            join = pc.and_kleene if node.operator is operators.and_ else pc.or_kleene
            return functools.reduce(join, [_evaluate(part, table, contract) for part in node.clauses])
        case elements.UnaryExpression() if node.operator in (operators.inv, operators.is_false):
            return pc.invert(_evaluate(node.element, table, contract))
        case elements.UnaryExpression() if node.operator is operators.is_true:
            return _evaluate(node.element, table, contract)
        case elements.BinaryExpression():
            return _compare(node, table, contract.field(node.left.name))
    raise NotImplementedError(f"a filter has no meaning for columns yet: {type(node).__name__} {node}")


def _compare(node: Any, table: pa.Table, field: FieldSpec) -> Any:
    column, operator = table.column(field.name), node.operator
    if operator is operators.is_:
        return pc.is_null(column)
    if operator is operators.is_not:
        return pc.is_valid(column)
    if operator in (operators.like_op, operators.not_like_op):
        # The language has no other pattern than a text with % behind it.
        found = pc.starts_with(column, _ESCAPED.sub(r"\1", node.right.value.removesuffix("%")))
        return found if operator is operators.like_op else pc.invert(found)
    kind = TYPES[field.type]
    column = kind.to_compare(column)
    if operator in (operators.in_op, operators.not_in_op):
        values = kind.to_column(field, [part.value for part in node.right.element.clauses])
        found = pc.is_in(column, value_set=kind.to_compare(values))
        found = found if operator is operators.in_op else pc.invert(found)
        return pc.if_else(pc.is_valid(column), found, pa.scalar(None, pa.bool_()))
    return _COMPARE[operator](column, kind.to_compare(kind.to_column(field, [node.right.value]))[0])
