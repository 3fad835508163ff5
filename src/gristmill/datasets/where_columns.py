"""The filter language ``where`` over Arrow columns, in memory, with the meaning that it has in SQL.

A property test holds both against each other on a real Postgres.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.datasets.contract import Contract, FieldSpec
from gristmill.datasets.where import All, Any_, Comparison, Filter, Not, parse_where


def compile_columns(
    where: Any, fields: tuple[FieldSpec, ...], pointer: str = "/where"
) -> Callable[[pa.Table], npt.NDArray[np.bool_]]:
    """Return a function that says of each row of a table whether ``where`` (parsed JSON) finds it.

    fields: the columns that there may be, in the form that payloads have. Raises Invalid as ``parse_where`` does.
    """
    condition = parse_where(where, Contract(name="columns", fields=fields), pointer)

    def find(table: pa.Table) -> npt.NDArray[np.bool_]:
        found = _evaluate(condition, table)
        if isinstance(found, pa.Scalar):
            return np.full(table.num_rows, bool(found.as_py()))
        # Neither true nor false is not found.
        mask: npt.NDArray[np.bool_] = pc.fill_null(found, False).to_numpy(zero_copy_only=False)
        return mask

    return find


def _evaluate(condition: Filter, table: pa.Table) -> Any:
    """Return the truth of the filter for each row, null where it is unknown; a scalar where it is the same for all."""
    match condition:
        case All(parts):
            return functools.reduce(pc.and_kleene, [_evaluate(part, table) for part in parts], pa.scalar(True))
        case Any_(parts):
            return functools.reduce(pc.or_kleene, [_evaluate(part, table) for part in parts], pa.scalar(False))
        case Not(part):
            return pc.invert(_evaluate(part, table))
        case Comparison(operand, name, value):
            return operand.test(table, name, value)
