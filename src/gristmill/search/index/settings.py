"""The settings of index builds, and what they mean for one dataset."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from gristmill.search.index import graph
from gristmill.search.index.graph import GraphParameters, Size
from gristmill.search.index.policy import MIN_ROWS, Policy
from gristmill.search.repository import indexes
from gristmill.search.repository.searchable import Searchable

# Of what Postgres is told to have for files, which as a rule is half of the machine's memory.
MEMORY_SHARE = 4
# A tail that nothing is added to is worth a graph from this part of seal_rows on.
SETTLED_PART = 10


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """memory_mb: most memory of a build; 0: a quarter of Postgres' effective_cache_size. workers: helping processes.

    seal_rows, min_rows: as in Policy; seal_rows 0: nothing is built but what is asked for. check_every: seconds between
    two checks of whether a build shall go on. parameters: of graphs that stay; None: by their size. quick: of those
    that are built quickly and later built again. grace_seconds: between the end of a build and the drop of the indexes
    that it replaces.
    """

    memory_mb: int = 0
    workers: int = 1
    min_rows: int = MIN_ROWS
    seal_rows: int = 20_000
    check_every: float = 1.0
    parameters: GraphParameters | None = None
    grace_seconds: float = 0.0
    quick: GraphParameters = graph.QUICK

    @property
    def sizes(self) -> Sequence[Size]:
        """The parameters of lasting graphs by their size."""
        return graph.SIZES if self.parameters is None else (Size(0, 1, self.parameters),)

    def parameters_for(self, rows: int, dimensions: int, quick: bool = False) -> GraphParameters:
        """Return what a graph of ``rows`` rows is built with."""
        return self.quick if quick else graph.parameters_for(rows, dimensions, self.sizes)

    def is_quick(self, candidates: int, rows: int, dimensions: int) -> bool:
        """Say whether a graph with that ef_construction was built quickly, and its size deserves more.

        Any other difference to what its size would get now is none: after a change of the sizes nothing is built again.
        """
        lasting = self.parameters_for(rows, dimensions)
        return candidates <= self.quick.ef_construction < lasting.ef_construction


@dataclass(frozen=True, slots=True)
class Limits:
    """memory_mb: most memory of a build. policy: what is due when, given that memory."""

    memory_mb: int
    policy: Policy


def limits_of(connection: Connection, dataset: Searchable, settings: BuildSettings) -> Limits:
    """Return what the settings mean for a dataset, whose vectors decide how many rows fit the memory."""
    memory_mb = settings.memory_mb or indexes.cache_mb(connection) // MEMORY_SHARE
    most = graph.most_rows(dataset, memory_mb, settings.sizes)
    return Limits(memory_mb, Policy(settings.seal_rows, most, settings.min_rows))
