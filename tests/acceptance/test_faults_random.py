"""A short soak: each kind of fault at a random moment under load, and the same books at the end."""

from collections.abc import Iterator

import pytest
from tests.soak.soak import SETTINGS, run
from tests.support.faults import FaultStack


@pytest.fixture
def soaked(fault_stack: FaultStack) -> Iterator[FaultStack]:
    """The shared servers with the soak's settings, which need processes of their own."""
    settings = dict(fault_stack.system.settings)
    fault_stack.system.stop()
    fault_stack.system.settings.update(SETTINGS)
    fault_stack.heal()
    yield fault_stack
    fault_stack.system.stop()
    fault_stack.system.settings = settings


@pytest.mark.promise(1)
@pytest.mark.promise(2)
@pytest.mark.promise(3)
class TestRandomKills:
    def test_every_202_succeeds_once_and_the_tables_are_what_the_order_says(self, soaked: FaultStack) -> None:
        report = run(soaked, seconds=10, seed=2, pause=0.3)
        assert not report.violations, str(report)
        assert int(dict(report.figures)["requests repeated"]) > 0, str(report)
