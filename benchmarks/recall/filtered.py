"""Searches with filters that keep half of the rows down to a ten-thousandth, independently of the vectors or not."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.exact import Filter
from benchmarks.figures import Row
from benchmarks.harness import Bench
from benchmarks.recall.served import rounds
from benchmarks.recall.table import NAME, Asked, K, buckets
from benchmarks.searches import search

TARGET_RECALL = 0.98
SHARES = (0.5, 0.1, 0.01, 0.0001)
# Of one kind of text: the sections from which so much is kept are a union of neighbours, else a single one.
_UNION = 0.05
# So many vectors tell where a section lies.
_LOOKED_AT = 20_000


@dataclass(frozen=True)
class Kept:
    """A filter. what: in words. share: of the rows that it keeps. where: as searches send it. keep: the same mask."""

    what: str
    share: float
    where: dict[str, Any]
    keep: Filter


def filters(bench: Bench, rows: int) -> list[Kept]:
    """Return the filters by ``bucket``, which nothing in the vectors tells of, and by ``section``, which clusters."""
    parts = [columns for columns, _ in bench.corpus.vectors(rows)]
    numbers = np.sort(np.concatenate([buckets(part) for part in parts]))
    sections = pa.concat_tables(parts).column("section").value_counts().to_pylist()
    counts = {entry["values"]: int(entry["counts"]) for entry in sections}
    near = _by_nearness(bench, max(counts, key=lambda section: counts[section]), rows)
    return [
        *(_by_bucket(numbers, share) for share in SHARES),
        *(_by_section(counts, near, share) for share in SHARES),
    ]


def measure(bench: Bench, asked: Asked, kept: list[Kept], kth: list[list[float]]) -> Iterator[Row]:
    """Yield recall, latency and plans of searches with each filter. kth: as ``asked`` returns them."""
    for one, limits in zip(kept, kth, strict=True):
        count = max(1, rounds(bench, asked.rows) // 2)
        found = search(bench, NAME, asked.vectors, limits, K, count, where=one.where)
        yield Row(
            f"  with a filter that keeps {100 * one.share:.3g} % of {asked.size} by {one.what}",
            f"{found.times}, recall@{K} {found.recall:.4f}; {found.full:,} of {found.asked:,} answers had {K} hits and "
            f"were complete; plans: {', '.join(found.plans)}",
            f"recall ≥ {TARGET_RECALL}",
            found.recall >= TARGET_RECALL,
            {**found.values(), "rows": asked.rows, "share": one.share, "where": one.where},
        )


def _by_bucket(numbers: np.ndarray, share: float) -> Kept:
    # Of few rows a small share would be fewer than k.
    limit = int(numbers[max(int(len(numbers) * share), 2 * K)])
    kept = int((numbers < limit).sum())
    return Kept(f"bucket ({kept:,} rows, independent of the vectors)", kept / len(numbers), {"bucket": {"lt": limit}},
                lambda table: buckets(table) < limit)  # fmt: skip


def _by_section(counts: dict[str, int], near: list[str], share: float) -> Kept:
    total = sum(counts.values())
    if share < _UNION:
        enough = [section for section in counts if counts[section] >= 2 * K]
        chosen = [min(enough, key=lambda section: abs(counts[section] - share * total))]
    else:
        sums = np.cumsum([counts.get(section, 0) for section in near])
        chosen = near[: int(np.abs(sums - share * total).argmin()) + 1]
    kept = sum(counts.get(section, 0) for section in chosen)
    said = chosen[0] if len(chosen) == 1 else f"{len(chosen)} sections next to each other"
    return Kept(f"section ({said}, {kept:,} rows)", kept / total, {"section": {"in": chosen}},
                lambda table: pc.is_in(table.column("section"), pa.array(chosen)).to_numpy())  # fmt: skip


def _by_nearness(bench: Bench, start: str, rows: int) -> list[str]:
    """Return the sections in the order in which their mean vectors are near to that of ``start``, itself first."""
    columns, vectors = next(bench.corpus.vectors(min(rows, _LOOKED_AT)))
    section = np.asarray(columns.column("section").to_pylist())
    means = {}
    for name in dict.fromkeys(section.tolist()):
        mean = vectors[section == name].mean(axis=0)
        means[name] = mean / np.linalg.norm(mean)
    return sorted(means, key=lambda name: -float(means[name] @ means[start]))
