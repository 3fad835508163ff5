"""What every process has: settings, the database, wake-ups, counters, datasets. Every process starts from here."""

import contextlib
import functools
import gc
import threading

import gristmill.access.tables
import gristmill.datasets.tables
import gristmill.images.tables
import gristmill.jobs.tables
import gristmill.records.tables
import gristmill.schedules.tables
import gristmill.search.tables
import gristmill.sources.tables
import gristmill.storage.tables  # noqa: F401 - declares its tables for the migrations
from gristmill.bootstrap.embedders import build_embedders
from gristmill.bootstrap.images import build_images
from gristmill.bootstrap.steps import build_steps
from gristmill.bootstrap.storage import build_files
from gristmill.core.config import Settings
from gristmill.core.database import Database
from gristmill.core.errors import GristmillError
from gristmill.core.logs import get_logger
from gristmill.datasets.embedders import check_embedders
from gristmill.datasets.lookup import DatasetLookup
from gristmill.embeddings.errors import EmbedderNotInstalled
from gristmill.jobs.admission import Admission
from gristmill.jobs.counters import Counters
from gristmill.jobs.notifications import Notifier
from gristmill.jobs.outcome import RetryPolicy
from gristmill.search.index.settings import BuildSettings

log = get_logger()


class Gristmill:
    """What the processes share. Nothing connects before it is used, so building it is cheap and safe to do."""

    def __init__(self, settings: Settings, name: str, *, pool: int = 4, idle_timeout: float | None = None) -> None:
        """idle_timeout: seconds that a transaction may idle; as long as a chunk's lease without it."""
        self.settings = settings
        self.database = Database(
            settings.database_url,
            name,
            pool=pool,
            statement_timeout=settings.database_statement_timeout,
            # A frozen worker's chunk can be given to another one only when its transaction has released its row locks.
            idle_timeout=settings.jobs_lease if idle_timeout is None else idle_timeout,
            tablespace=settings.database_tablespace,
        )
        self.counters = Counters(self.database)
        self.notifier = Notifier(self.database)
        self.admission = Admission(
            self.database,
            max_queued=settings.jobs_max_queued,
            max_staged_bytes=settings.jobs_max_staged_bytes,
        )
        self.dataset_lookup = DatasetLookup()
        self.files = build_files(settings, self.database)
        self.images = build_images(settings)
        self.embedders = build_embedders(settings, self.images)
        self.steps = build_steps(settings, self.embedders, self.images)
        self.retry_policy = RetryPolicy(settings.jobs_retry_base, settings.jobs_retry_max)

    @property
    def build_settings(self) -> BuildSettings:
        """The settings of index builds."""
        return BuildSettings(
            memory_mb=self.settings.search_maintenance_memory_mb,
            workers=self.settings.search_build_workers,
            seal_rows=self.settings.search_seal_rows,
            # Twice as long as a search may go by what it has read of the catalogue.
            grace_seconds=2.0,
        )

    def wake(self) -> None:
        """Wake the dispatchers, after a commit that made something due. They look every ``dispatcher.poll`` anyway."""
        self.notifier.due()

    def load_ahead(self) -> None:
        """Load what the first batch or search would wait for: pandas and, if installed, the default embedder."""
        # pyarrow imports both with the first list that it converts.
        import pandas  # noqa: F401, PLC0415
        import pyarrow.pandas_compat  # noqa: F401, PLC0415

        with contextlib.suppress(EmbedderNotInstalled):
            self.embedders.get(self.settings.embeddings_default)

    def check(self) -> None:
        """Raise Unavailable for a pgvector that is too old; log the datasets that were embedded by another version.

        Those datasets refuse new texts, in records and in searches; everything else of them and all others work.
        """
        self.database.check_tablespace()
        self.database.check_versions()
        with self.database.autocommit() as connection:
            for problem in check_embedders(connection, self.embedders):
                log.error("embedder.changed", reason=problem.detail)

    def check_files(self) -> None:
        """Log what is wrong with the file storage. Everything that needs none works all the same.

        In a thread: a storage that does not answer must not hold up the start of a process.
        """

        def check() -> None:
            try:
                self.files.get()
            except GristmillError as error:
                log.error("file_storage.unusable", reason=error.detail)

        if self.files.configured:
            threading.Thread(target=check, name="file-storage", daemon=True).start()


@functools.cache
def freeze_memory() -> None:
    """Tell the garbage collector that what is loaded by now stays, so that it never scans it again.

    What a request or a chunk makes is freed by reference counts; collections become rare and short. Once in a process:
    a second time would also keep what is left of an application that has ended there.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
