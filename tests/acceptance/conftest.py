"""Fixtures of the tests over REST, and of the fault tests: a stack with servers of its own, mended before each test."""

import os
from collections.abc import Iterator

import pytest
from tests.support.faults import FaultStack
from tests.support.folders import open_folder
from tests.support.refusals import connection, kept, nothing_is_kept, rest, vectors

__all__ = ["connection", "kept", "nothing_is_kept", "rest", "vectors"]  # fixtures


@pytest.fixture(scope="session")
def fault_stack() -> Iterator[FaultStack]:
    """Servers and processes that only fault tests use."""
    kind = os.environ.get("GRISTMILL_TEST_BROKER_KIND", "auto")
    # Not below pytest's folder: whoever starts another session of pytest closes that to Postgres' user.
    with open_folder() as folder:
        found = FaultStack(folder, kind)
        yield found
        found.close()


@pytest.fixture(scope="module")
def module_stack(fault_stack: FaultStack) -> FaultStack:
    """The stack with everything running, a broker that is whole, and no indexes to be built for the modules before."""
    fault_stack.renew_broker()
    fault_stack.heal()
    fault_stack.drop_searched()
    return fault_stack


@pytest.fixture
def stack(module_stack: FaultStack) -> FaultStack:
    """The stack with everything running, whatever the test before has broken."""
    module_stack.heal()
    return module_stack
