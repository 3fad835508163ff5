"""The HNSW graph of a segment: its parameters, the memory that building it takes, and its DDL."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from gristmill.core.database import data_relation
from gristmill.kit.identifiers import quote
from gristmill.search.query.vector import indexed, vector_bytes, within
from gristmill.search.repository.catalogue import BLOCK, Segment
from gristmill.search.repository.searchable import Searchable

MIB = 1024 * 1024
# What pgvector allocates for a row beside its vector: the element (about 160 bytes), room for 2 m neighbours of 16
# bytes on the lowest level and for m on each level above, where one row in m is. pgvector 0.8.6 reports 64 MB full
# after 38,585 rows of 256 dimensions and 54,666 in half precision; this sum says 38,657 and 54,827.
_ELEMENT = 160
_NEIGHBOUR = 16
# A build that has a little too little memory goes on many times slower, so a little more than the sum is given to it.
_SPARE = 1.1
_LEAST_MB = 64
# Records that are left out of a graph, and of how many records on.
HELD_OUT = 256
LEAST_HELD = 500
MOST_BLOCKS = 64


@dataclass(frozen=True, slots=True)
class GraphParameters:
    """m: neighbours of a row (twice as many on the lowest level). ef_construction: candidates kept while building.

    With m 16, ef_construction 128 and ef_search 100, 98.4 % of the true ten nearest of 225,000 texts (package
    descriptions, glosses) are found; with ef_construction 64, which takes half the time, 97.5 %.
    """

    m: int = 16
    ef_construction: int = 128


@dataclass(frozen=True, slots=True)
class Size:
    """What a lasting graph is built with that has at least so many rows, of vectors of at least so many dimensions."""

    rows: int
    dimensions: int
    parameters: GraphParameters


# The larger a graph, the more of the true nearest are missed with the same parameters: more neighbours of each row make
# up for that, and cost time at each insertion (docs/search.md has the measurements). More candidates cost time at the
# build alone; a small graph is soon built again. Of those that apply the last one counts; m never falls from one to the
# next. A graph that was built by another table is left as it is.
SIZES = (
    Size(0, 1, GraphParameters(m=16, ef_construction=128)),
    Size(50_000, 1, GraphParameters(m=16, ef_construction=256)),
    Size(500_000, 1, GraphParameters(m=24, ef_construction=256)),
)
# Of graphs that are built in half of the time and built again later. A graph with as few candidates counts as such one.
QUICK = GraphParameters(m=16, ef_construction=64)


def parameters_for(rows: int, dimensions: int, sizes: Sequence[Size] = SIZES) -> GraphParameters:
    """Return what a lasting graph of ``rows`` rows is built with."""
    return [size for size in sizes if rows >= size.rows and dimensions >= size.dimensions][-1].parameters


def row_bytes(dataset: Searchable, parameters: GraphParameters) -> int:
    """Return the memory of one row in a graph under construction."""
    vector = 8 + vector_bytes(dataset.graph_storage, dataset.dimensions)
    return vector + _ELEMENT + (2 * parameters.m + 2) * _NEIGHBOUR


def most_rows(dataset: Searchable, memory_mb: int, sizes: Sequence[Size] = SIZES) -> int:
    """Return up to how many rows every graph can be built within the memory; a larger one is built far slower."""
    found = 0
    starts = [size.rows for size in sizes if dataset.dimensions >= size.dimensions]
    for start, end in itertools.zip_longest(starts, starts[1:]):
        fit = int(memory_mb * MIB / _SPARE) // row_bytes(dataset, parameters_for(start, dataset.dimensions, sizes))
        if fit < start:
            break
        found = fit if end is None else min(fit, end - 1)
        if end is None or fit < end - 1:
            break
    return found


def memory_for(dataset: Searchable, parameters: GraphParameters, rows: int, memory_mb: int) -> int:
    """Return the MiB to give to a build of ``rows`` rows: a parallel build takes all that it is given, at once."""
    needed = int(rows * row_bytes(dataset, parameters) * _SPARE) // MIB + 1
    return min(memory_mb, max(_LEAST_MB, needed))


def held_step(rows: int, span: int) -> int:
    """Return of how many blocks of ids one is left out of a graph of ``rows`` rows (see ``Range``); 0 for none.

    span: how many ids its range has; where most are gone, no more than ``MOST_BLOCKS`` are looked into.

    What a graph finds is learnt by searching for records that are not in it: one that is in it is always found, and its
    neighbours with it. At ef 100 a graph of 60,000 texts finds 0.993 of the ten nearest to texts of its own and 0.970
    to others. 256 records, less of a small graph, add 0.2 ms to each search (128: 0.1 ms, 512: 0.4 ms).
    """
    if rows < LEAST_HELD:
        return 0
    return max(2, rows // min(HELD_OUT, rows // 16), -(-span // (BLOCK * MOST_BLOCKS)))


def create_index(dataset: Searchable, segment: Segment, parameters: GraphParameters) -> str:
    """Return the DDL that builds the segment's index while reads and writes go on."""
    return (
        f"CREATE INDEX CONCURRENTLY {quote(segment.index_name)} ON {data_relation(dataset.name)}"
        f" USING hnsw ({indexed(dataset.metric, dataset.storage, dataset.dimensions, segment.half_precision)})"
        f" WITH (m = {parameters.m:d}, ef_construction = {parameters.ef_construction:d})"
        f" WHERE {within(segment.range)}"
    )


def without_statistics(name: str) -> str:
    """Return the DDL after which Postgres keeps no statistics of what an index on an expression holds.

    Each ANALYZE would compute the expression of 30,000 records for it, and nothing uses what comes out.
    """
    return f"ALTER INDEX {data_relation(name)} ALTER COLUMN 1 SET STATISTICS 0"


def drop_index(name: str) -> str:
    """Return the DDL that removes an index once no search uses it any more; nothing if it is not there."""
    return f"DROP INDEX CONCURRENTLY IF EXISTS {data_relation(name)}"
