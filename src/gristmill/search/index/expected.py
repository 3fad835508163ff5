"""How long a build will take: by measured rates, corrected by what the last builds of this database took."""

import statistics
from collections.abc import Sequence

from gristmill.search.index.graph import GraphParameters
from gristmill.search.repository.builds import Build

# Rows that one process inserts in a second into a graph of 225,000 rows of 256 dimensions, with m 16 and
# ef_construction 128 (docs/decisions/0022-the-tail-comes-first.md).
_RATE = 1056
_ROWS, _DIMENSIONS, _M, _CANDIDATES = 225_000, 256, 16, 128
# The larger a graph, the longer an insertion takes: 1,331 rows a second into 56,000, 1,145 into 225,000 (one process);
# 60,000 rows in 45.8 s, 300,000 in 259.6 s (two processes).
_BY_ROWS = 0.1
# ef_construction 64 takes 0.54 of the time of 128, 256 takes 1.67 times that; m 24 takes 1.43 to 1.48 times that of 16.
_BY_CANDIDATES, _BY_M = 0.9, 0.9
# 8,000 rows, one process: 5.1 s with 64 dimensions, 7.7 s with 256, 14.4 s with 768. What does not depend on the
# vectors takes as long as 320 dimensions.
_OVERHEAD = 320
_HALF = 0.92
# What a helping process adds. One of two processes on two processors, which the searches of others shared: the two
# measurements of two processes above. Where processors are idle it is far more, which the last builds show.
_BY_HELPER = 0.12
# Smaller builds say more about the transactions that they waited for than about graphs.
LEAST_ROWS = 5_000


def expected_seconds(
    rows: int, dimensions: int, storage: str, parameters: GraphParameters, helpers: int, last: Sequence[Build]
) -> float | None:
    """Return the seconds that a build will take; None where nothing is known.

    helpers: processes beside Postgres' own. last: builds that this database has carried out.
    """
    bits = storage == "bit"
    similar = [build for build in last if (build.storage == "bit") == bits and build.rows > 0 and build.dimensions > 0]
    # What a helper is worth differs most from machine to machine.
    similar = [build for build in similar if build.helpers == helpers] or similar
    if rows <= 0 or (bits and not similar):
        # Nobody has measured graphs of bits.
        return None
    ratios = [build.seconds / _measured(build) for build in similar]
    # One build may have waited for minutes until a transaction ended: the median does not mind.
    correction = statistics.median(ratios) if ratios else 1.0
    return correction * _seconds(rows, dimensions, storage, parameters, helpers)


def _measured(build: Build) -> float:
    parameters = GraphParameters(build.m, build.ef_construction)
    return _seconds(build.rows, build.dimensions, build.storage, parameters, build.helpers)


def _seconds(rows: int, dimensions: int, storage: str, parameters: GraphParameters, helpers: int) -> float:
    """Return what a build takes by the rates above."""
    seconds = rows / _RATE * (rows / _ROWS) ** _BY_ROWS
    seconds *= (parameters.ef_construction / _CANDIDATES) ** _BY_CANDIDATES * (parameters.m / _M) ** _BY_M
    seconds *= (_OVERHEAD + dimensions) / (_OVERHEAD + _DIMENSIONS) * (_HALF if storage == "halfvec" else 1)
    return float(seconds / (1 + _BY_HELPER * helpers))
