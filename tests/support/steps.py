"""The kinds of steps that there are, and two that no user has: one makes two rows of one, one joins two texts."""

from typing import Any

import numpy as np
import pyarrow.compute as pc

from gristmill.bootstrap.images import build_images
from gristmill.bootstrap.steps import build_steps
from gristmill.core.config import Settings
from gristmill.transforms.registry import StepRegistry
from gristmill.transforms.run import column_of, set_column
from gristmill.transforms.spec import Output, Parameters, StepContext, StepKind
from tests.support.embedders import registry

DOUBLE = {"op": "double"}
# The field pair becomes the texts a and b with a blank between them.
PAIR = {"op": "pair"}


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
    description="Each row twice.",
    multiplies=True,
)


def _pair(frame: Any, _context: StepContext) -> Output:
    joined = pc.binary_join_element_wise(column_of(frame, "a"), column_of(frame, "b"), " ")
    return Output(set_column(frame, "pair", joined))


_PAIR = StepKind(
    "pair",
    Parameters,
    schema=lambda _parameters, columns, types: {**columns, "pair": types.column("pair", "text")},
    make=lambda *_: _pair,
    reads=lambda _: frozenset("ab"),
    writes=lambda _: frozenset({"pair"}),
    description="Two texts joined.",
)
SECRET = "only-for-these-tests"
_known = build_steps(Settings(transforms_secrets=f"example={SECRET}"), registry, build_images(Settings()))
STEPS = StepRegistry([kind for name in _known.names() if (kind := _known.get(name)) is not None] + [_KIND, _PAIR])
