"""Where the buckets of many moments begin and end."""

import numpy as np

from gristmill.kit.buckets import Buckets
from gristmill.kit.zone_changes import FIRST_MOMENT, LAST_MOMENT
from gristmill.transforms.spec import Indexes


def bucket_edges(buckets: Buckets, moments: Indexes) -> tuple[Indexes, Indexes]:
    """Return the beginning of each moment's bucket, and its end, which is not part of it.

    moments: microseconds since 1970 in UTC. Edges are in the years 1 to 9999.
    """
    if not len(moments):
        return moments, moments
    layout = buckets.layout(int(moments.min()), int(moments.max()))
    starts, lengths = np.array(layout.starts, np.int64), np.array(layout.lengths, np.int64)
    run = np.maximum(np.searchsorted(starts, moments, "right") - 1, 0)
    begins = starts[run] + (moments - starts[run]) // lengths[run] * lengths[run]
    ends = begins + lengths[run]
    if layout.inner is not None:
        begins = begins + (moments - begins) // layout.inner * layout.inner
        ends = np.minimum(ends, begins + layout.inner)
    # A run ends where the next one begins.
    behind = np.append(starts[1:], np.iinfo(np.int64).max)
    ends = np.minimum(ends, behind[run])
    return np.maximum(begins, FIRST_MOMENT), np.minimum(ends, LAST_MOMENT)
