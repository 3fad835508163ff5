"""The parameters of graphs by their size, and the memory that follows from them."""

import itertools

import pytest

from gristmill.search.index.graph import QUICK, SIZES, GraphParameters, Size, memory_for, most_rows, parameters_for
from gristmill.search.index.settings import BuildSettings
from gristmill.search.repository.searchable import Searchable

SMALL, LARGE, WIDE = GraphParameters(16, 128), GraphParameters(32, 128), GraphParameters(32, 200)
THREE = (Size(0, 1, SMALL), Size(1000, 1, LARGE), Size(1000, 512, WIDE))


def dataset(dimensions: int = 256) -> Searchable:
    return Searchable("d", "ready", "cosine", dimensions)


class TestTable:
    def test_every_size_has_parameters_that_pgvector_takes(self) -> None:
        assert (SIZES[0].rows, SIZES[0].dimensions) == (0, 1)
        for parameters in (QUICK, *(size.parameters for size in SIZES)):
            assert 16 <= parameters.m <= 32
            assert 2 * parameters.m <= parameters.ef_construction <= 1000

    def test_larger_graphs_come_later_and_have_no_fewer_neighbours(self) -> None:
        for first, second in itertools.pairwise(SIZES):
            assert (first.rows, first.dimensions) < (second.rows, second.dimensions)
            assert first.parameters.m <= second.parameters.m

    @pytest.mark.parametrize(
        ("rows", "dimensions", "found"),
        [(0, 256, SMALL), (999, 2000, SMALL), (1000, 256, LARGE), (10**9, 511, LARGE), (1000, 512, WIDE)],
    )
    def test_the_last_one_that_applies_counts(self, rows: int, dimensions: int, found: GraphParameters) -> None:
        assert parameters_for(rows, dimensions, THREE) == found


class TestMemory:
    @pytest.mark.parametrize("memory_mb", [1, 2, 64, 290, 310, 330, 350, 512, 3000])
    @pytest.mark.parametrize("dimensions", [64, 256, 1000])
    @pytest.mark.parametrize("sizes", [SIZES, THREE])
    def test_every_graph_of_at_most_that_many_rows_fits(
        self, memory_mb: int, dimensions: int, sizes: tuple[Size, ...]
    ) -> None:
        most = most_rows(dataset(dimensions), memory_mb, sizes)
        assert most > 0
        edges = {rows for size in sizes for rows in (size.rows - 1, size.rows) if 0 < rows <= most}
        for rows in {1, most // 2, most} | edges:
            needed = memory_for(dataset(dimensions), parameters_for(rows, dimensions, sizes), rows, 10**6)
            assert needed <= max(memory_mb, 64)

    def test_one_row_more_does_not_fit_or_would_be_of_a_size_that_does_not(self) -> None:
        for memory_mb in (100, 310, 3000):
            most = most_rows(dataset(), memory_mb)
            more = int(1.01 * most) + 1
            assert memory_for(dataset(), parameters_for(more, 256), more, 10**6) >= memory_mb

    def test_a_size_whose_smallest_graph_does_not_fit_ends_at_the_one_before(self) -> None:
        sizes = (Size(0, 1, GraphParameters(4, 128)), Size(5000, 1, GraphParameters(32, 128)))
        # Room for 5,000 rows with m 4, and not with m 32.
        assert most_rows(dataset(), 8, sizes) == 4999


class TestSettings:
    def test_lasting_graphs_go_by_their_size_and_quick_ones_do_not(self) -> None:
        settings = BuildSettings()
        for size in SIZES:
            assert settings.parameters_for(size.rows, 256) == size.parameters
            assert settings.parameters_for(size.rows, 256, quick=True) == QUICK

    def test_an_override_holds_for_every_size(self) -> None:
        settings = BuildSettings(parameters=WIDE)
        assert {settings.parameters_for(rows, 256) for rows in (0, 10**7)} == {WIDE}
        assert settings.parameters_for(10, 256, quick=True) == QUICK

    def test_only_a_graph_that_was_built_quickly_counts_as_quick(self) -> None:
        settings = BuildSettings()
        assert settings.is_quick(64, 10, 256)
        # With any other difference to what its size would get now a graph is left alone.
        assert not settings.is_quick(100, 10**7, 256)
        assert not settings.is_quick(1000, 10, 256)

    def test_where_lasting_graphs_have_no_more_candidates_none_is_quick(self) -> None:
        assert not BuildSettings(parameters=GraphParameters(2, 4)).is_quick(4, 10, 256)
        assert not BuildSettings(parameters=QUICK).is_quick(64, 10, 256)
