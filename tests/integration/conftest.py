"""Fixtures that several integration tests share."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from fastapi.dependencies import models
from tests.support.in_process import InProcess
from tests.support.servers import add_database
from tests.support.unfinished import cancel_unfinished

from gristmill.core.database import Database
from gristmill.search.index.builder import IndexBuilder
from gristmill.search.index.settings import BuildSettings
from gristmill.search.query import rank


@pytest.fixture(autouse=True)
def _patient_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which way a search goes depends on its records here, not on how busy the machine is."""
    monkeypatch.setattr(rank, "FILTER_SECONDS", 60.0)
    monkeypatch.setattr(rank, "TEXT_SECONDS", 60.0)


@pytest.fixture(scope="module")
def module_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """Gristmill as one process, on a database and with a file storage of its own, for a whole module."""
    url = add_database(os.environ["GRISTMILL_TEST_POSTGRES"], os.environ["GRISTMILL_TEST_TEMPLATE"])
    with running(url, tmp_path_factory) as found:
        yield found


@pytest.fixture
def app(module_app: InProcess) -> Iterator[InProcess]:
    """The one of the module, where each test has datasets of its own; what a test left to do is cancelled after it."""
    yield module_app
    cancel_unfinished(module_app.gristmill.database)


@pytest.fixture
def fresh_app(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    """For tests that look at all that there is: all jobs, all datasets, the metrics, the caches."""
    with running(database_url, tmp_path_factory) as found:
        yield found


@contextmanager
def running(url: str, folders: pytest.TempPathFactory) -> Iterator[InProcess]:
    found = InProcess(url, storage_url=str(folders.mktemp("files")))
    with found.http:
        yield found
    found.gristmill.database.close()
    # FastAPI remembers which of the last thousands of functions are coroutines, and with them whole applications.
    for cached in vars(models).values():
        if hasattr(cached, "cache_clear"):
            cached.cache_clear()


@pytest.fixture
def builder(database: Database) -> IndexBuilder:
    """Builds small segments, and looks often for whoever is in its way."""
    return IndexBuilder(database, BuildSettings(memory_mb=64, workers=0, min_rows=100, check_every=0.05))
