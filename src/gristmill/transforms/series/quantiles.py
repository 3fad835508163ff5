"""Medians, quantiles and numbers of distinct values over ranges of rows."""

from typing import Any

import numpy as np
import numpy.typing as npt

from gristmill.transforms.spec import Indexes


def quantiles(floats: npt.NDArray[np.float64], starts: Indexes, ends: Indexes, quantile: float) -> Any:
    """Return the quantile of each range, between two values on the line that joins them.

    No range is empty.
    """
    import pandas as pd  # noqa: PLC0415 - half a second that only workers of pipelines pay for
    from pandas.api.indexers import BaseIndexer  # noqa: PLC0415 - as above

    class Given(BaseIndexer):
        """The ranges, and empty ones behind them: pandas wants as many as there are values."""

        def get_window_bounds(
            self,
            num_values: int = 0,
            min_periods: int | None = None,
            center: bool | None = None,
            closed: str | None = None,
            step: int | None = None,
        ) -> tuple[Indexes, Indexes]:
            more = np.full(num_values - len(starts), num_values, np.int64)
            return np.concatenate([starts, more]), np.concatenate([ends, more])

    # Between two large values their sum may leave the floats.
    large = bool((np.abs(floats) > 2.0**1022).any())
    floats = floats / 2 if large else floats
    floats = np.pad(floats, (0, max(0, len(starts) - len(floats))))
    rolling = pd.Series(floats).rolling(Given(), min_periods=1)
    # pandas' median is the faster one of the two.
    found = rolling.median() if quantile == 0.5 else rolling.quantile(quantile)
    values = found.to_numpy()[: len(starts)]
    return values * 2 if large else values


def count_distinct(ranks: Indexes, starts: Indexes, ends: Indexes) -> Indexes:
    """Return how many different ranks each range has. No row is in two ranges, and none is in none."""
    most = int(ranks.max(initial=0)) + 1
    owners = np.repeat(np.arange(len(starts), dtype=np.int64), ends - starts)
    return np.bincount(np.unique(owners * most + ranks) // most, minlength=len(starts)).astype(np.int64)
