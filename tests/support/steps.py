"""The kinds of steps that there are, and two that no user has: one makes two rows of one, one joins two texts."""

from typing import Any

import numpy as np
import pyarrow.compute as pc

from gristmill.bootstrap.steps import build_steps
from gristmill.transforms.registry import StepRegistry
from gristmill.transforms.run import column_of, set_column
from gristmill.transforms.spec import Output, Parameters, StepContext, StepKind

DOUBLE = {"op": "double"}
# The field pair becomes the texts a and b with a blank between them.
JOIN = {"op": "join"}


def _double(frame: Any, _context: StepContext) -> Output:
    origins = np.repeat(np.arange(len(frame), dtype=np.int64), 2)
    return Output(frame.take(origins), origins)


_KIND = StepKind(
    "double",
    Parameters,
    schema=lambda _parameters, columns, _types: columns,
    make=lambda *_: _double,
    reads=lambda _: frozenset(),
    writes=lambda _: frozenset(),
    multiplies=True,
)


def _join(frame: Any, _context: StepContext) -> Output:
    joined = pc.binary_join_element_wise(column_of(frame, "a"), column_of(frame, "b"), " ")
    return Output(set_column(frame, "pair", joined))


_JOIN = StepKind(
    "join",
    Parameters,
    schema=lambda _parameters, columns, types: {**columns, "pair": types.column("pair", "text")},
    make=lambda *_: _join,
    reads=lambda _: frozenset("ab"),
    writes=lambda _: frozenset({"pair"}),
)
_known = build_steps()
STEPS = StepRegistry([kind for name in _known.names() if (kind := _known.get(name)) is not None] + [_KIND, _JOIN])
