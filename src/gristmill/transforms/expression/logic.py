"""and, or, not, if, coalesce: where a row is decided, its other parts are not computed; they may have no value."""

from collections.abc import Sequence
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.transforms.expression.tree import ARROW, Mask, NoValue, Rows, Run, scatter


def run_and(parts: Sequence[Run]) -> Run:
    return _quickly(lambda rows: all_of([part(rows) for part in parts]), lambda rows: _until(parts, rows, False))


def run_or(parts: Sequence[Run]) -> Run:
    return _quickly(lambda rows: any_of([part(rows) for part in parts], rows), lambda rows: _until(parts, rows, True))


def run_if(condition: Run, then: Run, otherwise: Run, type_: str) -> Run:
    """A condition that is unknown is not fulfilled."""

    def quick(rows: Rows) -> pa.Array:
        return pc.if_else(condition(rows).fill_null(False), then(rows), otherwise(rows))

    def run(rows: Rows) -> pa.Array:
        holds = _mask(condition(rows), True)
        result = pa.nulls(rows.count, ARROW[type_])
        for mask, branch in ((holds, then), (~holds, otherwise)):
            if mask.any():
                result = scatter(branch(rows if mask.all() else rows.take(mask)), mask, result)
        return result

    return _quickly(quick, run)


def run_coalesce(parts: Sequence[Run], type_: str) -> Run:
    """The first value that is not null."""

    def run(rows: Rows) -> pa.Array:
        result = pa.nulls(rows.count, ARROW[type_])
        for part in parts:
            missing = result.is_null().to_numpy(zero_copy_only=False)
            if not missing.any():
                break
            result = scatter(part(rows if missing.all() else rows.take(missing)), missing, result)
        return result

    return _quickly(lambda rows: pc.coalesce(*(part(rows) for part in parts)), run)


def _quickly(quick: Run, careful: Run) -> Run:
    """Compute all parts for all rows, which is quicker; if some row has no value then, those alone that it needs."""

    def run(rows: Rows) -> pa.Array:
        if not rows.careful:
            try:
                return quick(rows)
            except NoValue:
                # Parts of parts are not tried both ways again.
                rows = rows.carefully()
        return careful(rows)

    return run


def run_is_null(part: Run, wanted: bool) -> Run:
    return lambda rows: part(rows).is_null() if wanted else part(rows).is_valid()


def _until(parts: Sequence[Run], rows: Rows, decisive: bool) -> pa.Array:
    """Join truths until one is ``decisive``, with unknown as in SQL."""
    join = pc.or_kleene if decisive else pc.and_kleene
    result = pa.repeat(not decisive, rows.count)
    for part in parts:
        undecided = ~_mask(result, decisive)
        if not undecided.any():
            break
        found = part(rows if undecided.all() else rows.take(undecided))
        result = join(result, scatter(found, undecided, result))
    return result


def _mask(truths: pa.Array, wanted: bool) -> Mask:
    """Return where a truth is ``wanted``; unknown is not."""
    found: Mask = pc.equal(truths, wanted).fill_null(False).to_numpy(zero_copy_only=False)
    return np.asarray(found)


def run_not(truths: pa.Array) -> pa.Array:
    """The other truth; unknown stays unknown."""
    return pc.invert(truths)


def all_of(truths: Sequence[pa.Array]) -> pa.Array:
    """Join truths that are all computed, as ``and`` does."""
    return reduce(pc.and_kleene, truths)


def any_of(truths: Sequence[pa.Array], rows: Rows) -> pa.Array:
    """Join truths that are all computed, as ``or`` does; false where there is none."""
    return reduce(pc.or_kleene, truths, pa.repeat(False, rows.count))
