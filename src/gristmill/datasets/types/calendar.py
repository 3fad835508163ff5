"""What dates and timestamps share: the limits of the calendar, and how texts of them are read by the column."""

import datetime as dt

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.datasets.types.columns import Mask, keep_only, to_mask

EPOCH = dt.date(1970, 1, 1).toordinal()
# Days since 1970.
FIRST_DAY, LAST_DAY = dt.date.min.toordinal() - EPOCH, dt.date.max.toordinal() - EPOCH
# Years from 1000 on; the day is one that every month might have, which the conversion then decides.
DATE = r"[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
# How one bound alone is named.
BOUNDS = (" from {} on", " up to {}")


def cast_texts(array: pa.Array, pattern: str, kind: pa.DataType) -> tuple[pa.Array, Mask]:
    """Return the texts that match ``pattern`` as values of ``kind``, and which they are."""
    good = to_mask(pc.match_substring_regex(array, pattern))
    try:
        return keep_only(array, good).cast(kind), good
    except pa.ArrowInvalid:
        # Some month does not have some day. Those days are few: leave all such days to single validation.
        good &= ~to_mask(pc.match_substring_regex(array, "^[0-9]{4}-[0-9]{2}-(29|30|31)"))
        return keep_only(array, good).cast(kind), good
