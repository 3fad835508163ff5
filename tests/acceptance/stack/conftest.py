"""Two stacks that all tests in here share, each started when a test wants it to run."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.folders import open_folder
from tests.support.stacks import SharedStack

from gristmill.stack import Stack


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as path:
        yield path


@pytest.fixture(scope="package")
def whole() -> Iterator[SharedStack]:
    """With the broker that is wanted, and the settings of the examples."""
    with open_folder() as path:
        (path / "images").mkdir()
        found = SharedStack(
            path / "data",
            images_url=str(path / "images"),
            images_export_chunk_records=20,
            worker_long_processes=2,
            # A killed worker's work is taken up soon.
            jobs_lease=5,
            jobs_heartbeat=1,
        )
        yield found
        found.stack.down()


@pytest.fixture(scope="package")
def light() -> Iterator[SharedStack]:
    """With Valkey, which starts in no time."""
    with open_folder() as path:
        found = SharedStack(path / "data", "valkey")
        yield found
        found.stack.down()


@pytest.fixture
def stack(whole: SharedStack) -> Stack:
    """The whole one; every service of it runs and answers."""
    return whole.running()
