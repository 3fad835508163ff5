"""The kinds of steps that there are, and one more that no user has: it makes two rows of one."""

from typing import Any

import numpy as np

from gristmill.bootstrap.steps import build_steps
from gristmill.transforms.registry import StepRegistry
from gristmill.transforms.spec import Output, Parameters, StepContext, StepKind

DOUBLE = {"op": "double"}


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
_known = build_steps()
STEPS = StepRegistry([kind for name in _known.names() if (kind := _known.get(name)) is not None] + [_KIND])
