"""The only place that picks implementations and wires them; every process starts from here."""

import contextlib
import gc
import importlib
from collections.abc import Callable
from functools import cached_property
from typing import Any

from fastapi import APIRouter

import gristmill.access.tables
import gristmill.datasets.tables
import gristmill.jobs.tables
import gristmill.records.tables
import gristmill.search.tables  # noqa: F401 - declares its tables for the migrations
from gristmill.core.config import Settings, load_settings
from gristmill.core.database import Database
from gristmill.core.logs import get_logger
from gristmill.datasets import endpoints as dataset_endpoints
from gristmill.datasets.embedders import check_embedders
from gristmill.datasets.lookup import DatasetReader
from gristmill.datasets.service import DatasetService
from gristmill.datasets.statistics import ANALYZE_EVERY, Analyzer
from gristmill.datasets.tasks import AlterHandler, CreateHandler, DropHandler
from gristmill.embeddings import registry as embedders
from gristmill.embeddings.errors import EmbedderNotInstalled
from gristmill.jobs import endpoints as job_endpoints
from gristmill.jobs.admission import Admission
from gristmill.jobs.counters import Figures
from gristmill.jobs.execute import Executor, RetryPolicy
from gristmill.jobs.group_commit import Together
from gristmill.jobs.handlers import Handler, Outcome, Registry
from gristmill.jobs.heartbeat import Heartbeat
from gristmill.jobs.maintenance.rescue import Rescuer
from gristmill.jobs.notifications import Notifier
from gristmill.jobs.service import JobService
from gristmill.records.apply.tasks import build_handlers
from gristmill.records.embedding import EmbeddingStep
from gristmill.records.export import endpoints as export_endpoints
from gristmill.records.export.service import RecordExports
from gristmill.records.ingest import endpoints as record_endpoints
from gristmill.records.ingest import small
from gristmill.records.ingest.service import RecordWrites
from gristmill.records.ingest.small import SmallIngest
from gristmill.records.read import endpoints as read_endpoints
from gristmill.records.read.service import RecordReads
from gristmill.records.rejects import endpoints as reject_endpoints
from gristmill.records.rejects.cleanup import RejectUpkeep
from gristmill.records.rejects.service import RejectService
from gristmill.records.retention.tasks import ExpireHandler, Retention, forget_retention, retention_state
from gristmill.records.spool import Spool
from gristmill.records.submit import Submitter
from gristmill.search.index import endpoints as index_endpoints
from gristmill.search.index.builder import IndexBuilder
from gristmill.search.index.report import index_state
from gristmill.search.index.scheduler import Sealer
from gristmill.search.index.service import IndexService
from gristmill.search.index.settings import BuildSettings
from gristmill.search.index.tasks import IndexBuildHandler, IndexRebuildHandler, interrupt_builds, release_table
from gristmill.search.query import endpoints as search_endpoints
from gristmill.search.query.service import SearchService
from gristmill.search.recall.measure import Effort
from gristmill.search.recall.tasks import IndexRecallHandler, RecallKeeper

log = get_logger()


class Gristmill:
    """All services of one process. Nothing connects before it is used, so building it is cheap and safe to do."""

    def __init__(self, settings: Settings, name: str, *, pool: int = 4) -> None:
        self.settings = settings
        self.database = Database(
            settings.database_url,
            name,
            pool=pool,
            statement_timeout=settings.database_statement_timeout,
            # A frozen worker's chunk can be given to another one only when its transaction has let go of the rows.
            idle_timeout=settings.jobs_lease,
            tablespace=settings.database_tablespace,
        )
        self.figures = Figures(self.database)
        self.notifier = Notifier(self.database)
        self.jobs = JobService(self.database, self.notifier)
        self.admission = Admission(
            self.database,
            max_queued=settings.jobs_max_queued,
            max_staged_bytes=settings.jobs_max_staged_bytes,
        )
        self.dataset_reader = DatasetReader()
        self.datasets = DatasetService(
            self.database,
            self.admission,
            self.dataset_reader,
            default_embedder=settings.embeddings_default,
            index_state=index_state,
            retention_state=retention_state,
        )
        self.spool = Spool(settings.api_spool_dir, settings.api_max_spool_bytes)
        submitter = Submitter(self.database, self.admission, self.dataset_reader)
        self._submitter = submitter
        self.record_writes = RecordWrites(settings, self.database, submitter, self.spool)
        self.rejects = RejectService(self.database, self.dataset_reader)
        self.search = SearchService(self.database, self.dataset_reader, embedders.get, ef=settings.search_ef)
        self.indexes = IndexService(self.database, self.dataset_reader, self.admission, self._build_settings())
        self.record_reads = RecordReads(self.database, self.dataset_reader)
        self.retry_policy = RetryPolicy(settings.jobs_retry_base, settings.jobs_retry_max)

    @cached_property
    def registry(self) -> Registry:
        """The handlers of all job types, those of plugins included."""
        registry = Registry()
        for handler in self._handlers():
            registry.add(handler)
        for name in self.settings.jobs_plugins.split():
            importlib.import_module(name).register(registry, self)
        return registry

    def routers(self) -> list[APIRouter]:
        """The REST routes of all domains, to be mounted under /api/v1."""
        return [
            job_endpoints.build_router(self.jobs),
            dataset_endpoints.build_router(self.datasets),
            record_endpoints.build_router(self.record_writes, self.small_ingest, self.settings, self.spool),
            read_endpoints.build_router(self.record_reads),
            reject_endpoints.build_router(self.rejects),
            export_endpoints.build_router(RecordExports(self.database, self.dataset_reader), self.settings),
            search_endpoints.build_router(self.search),
            index_endpoints.build_router(self.indexes),
        ]

    @cached_property
    def small_ingest(self) -> SmallIngest:
        """The short way of small upserts; it belongs to one event loop."""
        together = Together(self.database, small.GUARD)
        return SmallIngest(self.record_writes, self._submitter, self.admission, together)

    def _handlers(self) -> list[Handler]:
        drop_hooks = [release_table, forget_retention]
        builder = IndexBuilder(self.database, self._build_settings())
        return [
            CreateHandler(drop_hooks),
            AlterHandler([interrupt_builds]),
            DropHandler(drop_hooks),
            *build_handlers(self.database, self.dataset_reader, EmbeddingStep(embedders.get)),
            ExpireHandler(self.database, self._count_expired),
            IndexBuildHandler(builder),
            IndexRebuildHandler(builder),
            IndexRecallHandler(self.database, self.dataset_reader, self._recall_effort()),
        ]

    def _count_expired(self, dataset: str, deleted: int) -> None:
        if deleted:
            self.figures.count("records_expired", dataset, deleted)

    def _build_settings(self) -> BuildSettings:
        return BuildSettings(
            memory_mb=self.settings.search_maintenance_memory_mb,
            workers=self.settings.search_build_workers,
            seal_rows=self.settings.search_seal_rows,
        )

    def _recall_effort(self) -> Effort:
        return Effort(self.settings.search_recall_samples, self.settings.search_recall_seconds, self.settings.search_ef)

    def chores(self) -> list[tuple[float, Callable[[], Any]]]:
        """What the dispatcher does now and then for other domains: (every so many seconds, what)."""
        sealer = Sealer(self.database, self._build_settings())
        recall = RecallKeeper(self.database, self.settings.search_recall_samples)

        retention = Retention(self.database, self.settings.jobs_max_attempts)
        return [
            (2.0, self._waking(sealer.run)),
            (30.0, self._waking(recall.run)),
            (self.settings.jobs_expire_every, self._waking(retention.run)),
            (60.0, RejectUpkeep(self.database).run),
            (ANALYZE_EVERY, Analyzer(self.database).run),
        ]

    def _waking(self, submit: Callable[[], int]) -> Callable[[], None]:
        """Return a chore that wakes the dispatcher when ``submit`` has submitted jobs."""

        def do() -> None:
            if submit():
                self.notifier.due()

        return do

    def executor(
        self,
        *,
        draining: Callable[[], bool] = lambda: False,
        time_limit_error: type[BaseException] = TimeoutError,
    ) -> Executor:
        """The engine of one worker process."""
        settings = self.settings
        heartbeat = Heartbeat(self.database, lease=settings.jobs_lease, interval=settings.jobs_heartbeat)
        return Executor(
            self.database,
            self.registry,
            heartbeat,
            self.notifier,
            lease=settings.jobs_lease,
            retry=self.retry_policy,
            draining=draining,
            time_limit_error=time_limit_error,
            on_settled=self._count,
        )

    def rescuer(self) -> Rescuer:
        settings = self.settings
        return Rescuer(
            self.database,
            self.registry,
            self.notifier,
            self.figures,
            retry=self.retry_policy,
            resend_after=settings.jobs_resend_after,
            retention_days=settings.jobs_retention_days,
            idempotency_hours=settings.jobs_idempotency_hours,
        )

    def check(self) -> None:
        """Raise Unavailable for a pgvector that is too old; name the datasets whose embedder is another one here.

        Those datasets refuse new texts, in records and in searches; everything else of them and all others work.
        """
        self.database.check_tablespace()
        self.database.check_pgvector()
        with self.database.autocommit() as connection:
            for problem in check_embedders(connection):
                log.error("embedder.changed", reason=problem.detail)

    def warm_up(self) -> None:
        """Do in a new worker process what the first job would otherwise wait for: load weights, start threads."""
        self.load_embedder()
        self.settle_memory()
        self.figures.flush_every(2.0)

    @staticmethod
    def settle_memory() -> None:
        """Tell the garbage collector that what is loaded by now stays: it would walk through all of it again and again.

        What a request or a chunk makes is freed by reference counts; collections become rare and short.
        """
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 100)

    def load_embedder(self) -> None:
        """Load the weights of the default embedder, if it is installed."""
        with contextlib.suppress(EmbedderNotInstalled):
            embedders.get(self.settings.embeddings_default)

    def _count(self, type_: str, finished_as: str, took: float, outcome: Outcome) -> None:
        if outcome.succeeded:
            self.figures.count("records_written", type_, outcome.succeeded)
        if outcome.superseded:
            self.figures.count("records_superseded", type_, outcome.superseded)
        if finished_as:
            self.figures.count("jobs_finished", f"{type_}:{finished_as}")
            self.figures.observe("job_seconds", type_, took)


def job_types(settings: Settings | None = None) -> list[str]:
    """Return every job type, sorted."""
    gristmill = Gristmill(settings or load_settings(), "gristmill-types")
    return sorted(handler.type for handler in gristmill.registry)
