"""``filter``: records that a condition does not find are dropped.

{"op": "filter", "where": {"celsius": {"null": false}}}
"""

from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.transforms.run import column_of
from gristmill.transforms.spec import (
    Columns,
    Output,
    Parameters,
    StepContext,
    StepKind,
    Transform,
    Types,
)


class Filter(Parameters):
    """Parameters of ``filter``. where: the filter language of reads, over the columns that are there at this step."""

    where: dict[str, Any]


def _schema(step: Filter, columns: Columns, types: Types) -> Columns:
    types.predicate(step.where, columns, "/where")
    return columns


def _make(step: Filter, columns: Columns, types: Types) -> Transform:
    predicate = types.predicate(step.where, columns, "/where")
    # A filter that names no column still looks at every row.
    names = sorted(_names(step.where)) or list(columns)[:1]

    def transform(frame: Any, context: StepContext) -> Output:
        kept = predicate(pa.table({name: column_of(frame, name) for name in names}))
        if kept.all():
            return Output(frame)
        return Output(frame[kept], np.flatnonzero(kept))

    return transform


def _names(where: Any) -> set[str]:
    """Return the columns that a filter names."""
    found: set[str] = set()
    for name, item in where.items():
        if name == "not":
            found |= _names(item)
        elif name in ("and", "or"):
            found = found.union(*map(_names, item))
        else:
            # Behind a dot stands the path of a member.
            found.add(name.partition(".")[0])
    return found


FILTER = StepKind(
    "filter", Filter, _schema, _make, reads=lambda step: frozenset(_names(step.where)), writes=lambda step: frozenset()
)
