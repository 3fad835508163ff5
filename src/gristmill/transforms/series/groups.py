"""Numbers the groups that rows are in: equal values are one group, null is a group of its own."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.core.errors import Violation
from gristmill.transforms.run import column_of, whole
from gristmill.transforms.schema_rules import need
from gristmill.transforms.spec import Column, Columns, Indexes, StepRefused, Types


def ranks_of(column: Column, values: pa.ChunkedArray, types: Types) -> Indexes:
    """Return the rank of each value in the order of its type, from 0; equal values have one, null the last."""
    if pa.types.is_floating(values.type):
        # -0.0 is 0.0.
        values = pc.add(values, 0.0)
    encoded = pc.dictionary_encode(whole(types.comparable(column, values)), null_encoding="encode")
    ranks = pc.rank(encoded.dictionary, sort_keys="ascending", tiebreaker="dense").to_numpy().astype(np.int64) - 1
    found: Indexes = ranks[encoded.indices.to_numpy()]
    return found


def group_codes(frame: Any, by: Sequence[str], columns: Columns, types: Types) -> tuple[Indexes, int]:
    """Return the number of each row's group, and how many groups there are; groups are in the order of their values."""
    codes, count = np.zeros(len(frame), np.int64), min(1, len(frame))
    for name in by:
        ranks = ranks_of(columns[name], column_of(frame, name), types)
        most = int(ranks.max(initial=0)) + 1
        if name == by[0]:
            codes, count = ranks, most if len(frame) else 0
            continue
        known, codes = np.unique(codes * most + ranks, return_inverse=True)
        count = len(known)
    return codes, count


def stable_order(codes: Indexes, count: int) -> Indexes:
    """Return the places of the codes in their order, equal ones as they stand. count: they are below it."""
    # numpy sorts numbers of 16 bits by counting them, ten times as fast as longer ones.
    order = np.argsort(codes.astype(np.uint16), kind="stable")
    for shift in range(16, max(1, count - 1).bit_length(), 16):
        order = order[np.argsort((codes[order] >> shift).astype(np.uint16), kind="stable")]
    return order


def need_groups(columns: Columns, by: Sequence[str], types: Types, member: str = "by") -> None:
    """Check that rows can be grouped by the columns. Raises StepRefused."""
    for place, name in enumerate(by):
        pointer = f"/{member}/{place}"
        column = need(columns, name, pointer)
        try:
            types.comparable(column, pa.chunked_array([pa.array([], column.arrow)]))
        except StepRefused as error:
            raise StepRefused(*(replace(one, pointer=pointer, field=name) for one in error.violations)) from error
        if name in by[:place]:
            raise StepRefused(Violation(pointer, "duplicate", f"{name} is listed twice", field=name))
