"""Exact sums and means of decimals over ranges of rows."""

from decimal import Context, Decimal
from fractions import Fraction
from itertools import accumulate

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.transforms.series.fold import fold, greatest
from gristmill.transforms.spec import Indexes

# Decimals have at most so many digits on either side of the point; a mean has so many places more than its field.
_DIGITS, MORE_PLACES, PLACES = 38, 6, 20
_WIDE = Context(prec=200)


def sum_decimals(texts: pa.Array, starts: Indexes, ends: Indexes) -> list[str | None]:
    """Return the sums, with as many places as the value of the range that has most; None beyond what decimals hold."""
    places = _most_places(texts, starts, ends)
    return [_text(total, some) for total, some in zip(_totals(texts, starts, ends), places, strict=True)]


def mean_decimals(texts: pa.Array, starts: Indexes, ends: Indexes, scale: int | None) -> list[str | None]:
    """Return the means, rounded to ``MORE_PLACES`` more places than ``scale``, of two to the even one, without zeros at
    the end. Without a scale they have ``PLACES``.
    """
    found = []
    places = PLACES if scale is None else min(scale + MORE_PLACES, _DIGITS)
    for total, count in zip(_totals(texts, starts, ends), (ends - starts).tolist(), strict=True):
        exact = Fraction(total) / count
        # Of a large one as many places as there is room for; it is rounded once.
        room = min(places, max(0, _DIGITS - len(str(abs(int(exact))))))
        found.append(_text(Decimal(round(exact * 10**room)).scaleb(-room, _WIDE), 0))
    return found


def _totals(texts: pa.Array, starts: Indexes, ends: Indexes) -> list[Decimal]:
    totals = list(accumulate(map(Decimal, texts.to_pylist()), _WIDE.add, initial=Decimal(0)))
    pairs = zip(starts.tolist(), ends.tolist(), strict=True)
    return [_WIDE.subtract(totals[end], totals[start]) for start, end in pairs]


def _most_places(texts: pa.Array, starts: Indexes, ends: Indexes) -> list[int]:
    point = pc.find_substring(texts, ".")
    behind = pc.if_else(pc.less(point, 0), 0, pc.subtract(pc.subtract(pc.utf8_length(texts), point), 1))
    (most,) = fold((behind.to_numpy().astype(np.int64),), starts, ends, greatest, [0])
    found: list[int] = most.tolist()
    return found


def _text(number: Decimal, places: int) -> str | None:
    """Return the number with so many places, or fewer where it would have too many digits; None if it does not fit."""
    _, digits, exponent = number.normalize(_WIDE).as_tuple()
    assert isinstance(exponent, int)
    if len(digits) + max(0, exponent) > _DIGITS or -exponent > _DIGITS:
        return None
    whole = max(0, len(digits) + exponent)
    places = max(min(places, _DIGITS - whole), -exponent)
    return format(number.quantize(Decimal(1).scaleb(-places), context=_WIDE), "f")
