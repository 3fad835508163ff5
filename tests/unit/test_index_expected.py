"""How long a build is expected to take."""

from dataclasses import replace

import pytest

from gristmill.search.index.expected import expected_seconds
from gristmill.search.index.graph import GraphParameters
from gristmill.search.repository.builds import Build

USUAL = GraphParameters(16, 128)
DONE = Build(100_000, 100.0, 1, "vector", 256, 16, 128)


def seconds(
    rows: int,
    dimensions: int = 256,
    storage: str = "vector",
    parameters: GraphParameters = USUAL,
    helpers: int = 0,
    last: list[Build] | None = None,
) -> float:
    found = expected_seconds(rows, dimensions, storage, parameters, helpers, last or [])
    assert found is not None
    return found


class TestMeasurements:
    """What was measured comes out, about."""

    @pytest.mark.parametrize(
        ("expected", "measured"),
        [
            (seconds(225_000), 225_000 / 1056),
            (seconds(60_000, helpers=1), 45.8),
            (seconds(300_000, helpers=1), 259.6),
            (seconds(225_000, storage="halfvec"), 225_000 / 1145),
            (seconds(225_000, storage="halfvec", parameters=GraphParameters(16, 64)), 225_000 / 2104),
            (seconds(225_000, storage="halfvec", parameters=GraphParameters(24, 128)), 225_000 / 799),
            (seconds(56_000, storage="halfvec"), 56_000 / 1331),
            (seconds(8000, 64) / seconds(8000), 5.06 / 7.72),
            (seconds(8000, 768) / seconds(8000), 14.36 / 7.72),
        ],
    )
    def test_within_a_tenth(self, expected: float, measured: float) -> None:
        assert expected == pytest.approx(measured, rel=0.1)


class TestCorrection:
    def test_a_machine_of_half_the_speed_takes_twice_as_long(self) -> None:
        slow = replace(DONE, seconds=2 * seconds(100_000, helpers=1))
        for rows, dimensions in ((10_000, 64), (500_000, 1024)):
            plain = seconds(rows, dimensions, helpers=1)
            assert seconds(rows, dimensions, helpers=1, last=[slow]) == pytest.approx(2 * plain)

    def test_what_differs_between_the_builds_is_taken_into_account(self) -> None:
        other = Build(50_000, seconds(50_000, 64, "halfvec", GraphParameters(24, 64), 3), 3, "halfvec", 64, 24, 64)
        assert seconds(100_000, last=[other]) == pytest.approx(seconds(100_000))

    def test_one_that_waited_for_minutes_does_not_count(self) -> None:
        usual = replace(DONE, seconds=seconds(100_000, helpers=1))
        waited = replace(usual, seconds=usual.seconds + 300)
        assert seconds(100_000, helpers=1, last=[waited, usual, usual]) == pytest.approx(usual.seconds)

    def test_builds_with_as_many_helpers_count_before_others(self) -> None:
        alone = replace(DONE, helpers=0, seconds=3 * seconds(100_000))
        helped = replace(DONE, seconds=seconds(100_000, helpers=1))
        assert seconds(100_000, helpers=0, last=[helped, alone]) == pytest.approx(alone.seconds)
        assert seconds(100_000, helpers=1, last=[helped, alone]) == pytest.approx(helped.seconds)


class TestUnknown:
    def test_nothing_is_said_of_no_rows(self) -> None:
        assert expected_seconds(0, 256, "vector", USUAL, 0, [DONE]) is None

    def test_graphs_of_bits_are_only_known_by_others_of_bits(self) -> None:
        assert expected_seconds(1000, 256, "bit", USUAL, 0, [DONE]) is None
        bits = replace(DONE, storage="bit", seconds=10.0)
        assert seconds(100_000, storage="bit", helpers=1, last=[DONE, bits]) == pytest.approx(10.0)
        assert seconds(100_000, helpers=1, last=[bits]) == pytest.approx(seconds(100_000, helpers=1))
