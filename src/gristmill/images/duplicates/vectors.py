"""Near-duplicates among vectors of numbers, by any of the metrics: exact, by blocks of matrix products.

A product of two blocks in 32-bit arithmetic says of nearly every pair whether it is nearer than the threshold. Of those
that are closer to it than rounding may be wrong, and of the nearest of each row, the distance is computed in 64 bits
from the stored numbers: that decides, and is what is told.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from gristmill.images.duplicates.groups import Distances, Groups, Places

Matrix = npt.NDArray[np.float32]
Tick = Callable[[float], None]
Metric = Literal["cosine", "l2", "inner_product"]

BLOCK_ROWS = 2048
_EXACT_BYTES = 8 * 1024 * 1024
# Cosines of parallel vectors are 1 to within this: the distance of a vector to twice itself is 0.
_COSINE_DIGITS = 12


def distances(matrix: Matrix, metric: Metric, left: Places, right: Places) -> Distances:
    """Return the distances of rows ``left`` to rows ``right``, pair by pair, in 64-bit arithmetic.

    cosine: 1 - the cosine of the angle, rounded to 12 digits. l2: the Euclidean distance. inner_product: the negative
    of the product, as pgvector has it.
    """
    found = np.empty(len(left))
    step = max(1, _EXACT_BYTES // (8 * matrix.shape[1]))
    for start in range(0, len(left), step):
        part = slice(start, start + step)
        one, other = matrix[left[part]].astype(np.float64), matrix[right[part]].astype(np.float64)
        if metric == "l2":
            one -= other
            found[part] = np.sqrt(_products(one, one))
        elif metric == "inner_product":
            found[part] = -_products(one, other)
        else:
            cosine = _products(one, other) / np.sqrt(_products(one, one)) / np.sqrt(_products(other, other))
            found[part] = np.clip(np.round(1.0 - cosine, _COSINE_DIGITS), 0.0, 2.0)
    return found


def link_vectors(
    matrix: Matrix, rows: Places, metric: Metric, threshold: float, groups: Groups, tick: Tick = lambda share: None
) -> None:
    """Link all of ``rows`` of ``matrix`` (rows, dimensions) whose distance is at most ``threshold``.

    Nodes of ``groups`` are places in ``rows``. tick: told the share that is done after each block.
    """
    count = len(rows)
    scale = _scale(matrix, rows, metric)
    done = 0.0
    for start in range(0, count, BLOCK_ROWS):
        left = _Block.of(matrix, rows, start, metric, scale)
        for other in range(start, count, BLOCK_ROWS):
            right = left if other == start else _Block.of(matrix, rows, other, metric, scale)
            _compare(matrix, rows, metric, threshold, left, right, scale, groups)
            done += len(left.numbers) * len(right.numbers) * (1 if left is right else 2)
            tick(min(1.0, done / count**2))


@dataclass(frozen=True, slots=True)
class _Block:
    """Rows from ``start`` on, for products in 32 bits: of length 1 for the cosine, else divided by ``scale``.

    halves: half the square of the length of each row. longest: the length of the longest.
    """

    start: int
    numbers: Matrix
    halves: Matrix
    longest: float

    @staticmethod
    def of(matrix: Matrix, rows: Places, start: int, metric: Metric, scale: float) -> "_Block":
        raw = matrix[rows[start : start + BLOCK_ROWS]].astype(np.float64)
        raw /= np.sqrt(_products(raw, raw))[:, None] if metric == "cosine" else scale
        squares = _products(raw, raw)
        longest = float(np.sqrt(squares.max()))
        return _Block(start, raw.astype(np.float32), (squares / 2).astype(np.float32), longest)


def _compare(
    matrix: Matrix,
    rows: Places,
    metric: Metric,
    threshold: float,
    left: _Block,
    right: _Block,
    scale: float,
    groups: Groups,
) -> None:
    # The larger the closeness the nearer: the product, or minus half the square of the Euclidean distance.
    closeness = left.numbers @ right.numbers.T
    limit = _limit(metric, threshold, scale)
    if metric == "l2":
        closeness -= left.halves[:, None]
        closeness -= right.halves[None, :]
    wrong = _error(matrix.shape[1], metric, left.longest, right.longest)
    near = closeness >= _float32(limit - wrong, -np.inf)
    if left is right:
        near = np.triu(near, 1)
    if not near.any():
        return
    sure = near & (closeness >= _float32(limit + wrong, np.inf))

    def measured(pairs: npt.NDArray[np.bool_]) -> tuple[Places, Places, Distances]:
        one, other = np.nonzero(pairs)
        one, other = one + left.start, other + right.start
        return one, other, distances(matrix, metric, rows[one], rows[other])

    one, other, found = measured(near & ~sure)
    within = found <= threshold
    one, other, found = one[within], other[within], found[within]
    groups.link(one, other)
    groups.nearer(one, found)
    groups.nearer(other, found)
    one, other = np.nonzero(sure)
    groups.link(one + left.start, other + right.start)
    # Whichever is the nearest of a row, it is among those that come this close to the one that seems to be.
    known = np.where(sure, closeness, np.float32(-np.inf))
    least = np.float32(2 * wrong)
    nearest = known >= np.maximum(known.max(axis=1), np.float32(-3e38))[:, None] - least
    nearest |= known >= np.maximum(known.max(axis=0), np.float32(-3e38))[None, :] - least
    one, other, found = measured(nearest & sure)
    groups.nearer(one, found)
    groups.nearer(other, found)


def _limit(metric: Metric, threshold: float, scale: float) -> float:
    if metric == "cosine":
        return 1.0 - threshold
    if metric == "inner_product":
        return -threshold / scale / scale
    # Beyond what 32 bits hold, everything is nearer.
    return -0.5 * min(threshold / scale, 1e18) ** 2


def _error(dimensions: int, metric: Metric, left: float, right: float) -> float:
    """Return how far a closeness may be off: the bound of rounding in a sum of products, doubled (Higham, §3.1)."""
    size = (left + right) ** 2 if metric == "l2" else left * right
    return float((dimensions + 16) * (np.finfo(np.float32).eps * size + 1e-37))


def _float32(value: float, towards: float) -> np.float32:
    with np.errstate(over="ignore"):
        return np.float32(np.nextafter(np.float32(value), np.float32(towards)))


def _scale(matrix: Matrix, rows: Places, metric: Metric) -> float:
    """Return the length of the longest row, so that no square overflows; 1 where lengths do not matter."""
    if metric == "cosine":
        return 1.0
    longest = 0.0
    for start in range(0, len(rows), BLOCK_ROWS):
        block = matrix[rows[start : start + BLOCK_ROWS]].astype(np.float64)
        longest = max(longest, float(np.sqrt(_products(block, block).max())))
    return longest or 1.0


def _products(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> Distances:
    found: Distances = np.einsum("ij,ij->i", one, other)
    return found
