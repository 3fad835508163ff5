"""Fixtures of the fault tests: one stack with servers of its own per test worker, mended before each test."""

import os
from collections.abc import Iterator

import pytest
from tests.support.faults import FaultStack


@pytest.fixture(scope="session")
def fault_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultStack]:
    """Servers and processes that only fault tests use."""
    kind = os.environ.get("GRISTMILL_TEST_BROKER_KIND", "auto")
    found = FaultStack(tmp_path_factory.mktemp("faults"), kind)
    yield found
    found.close()


@pytest.fixture
def stack(fault_stack: FaultStack) -> FaultStack:
    """The stack with everything running, whatever the test before has broken."""
    fault_stack.heal()
    return fault_stack
