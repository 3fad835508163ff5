"""The services and routes of the API process."""

from typing import Any

from fastapi import APIRouter

from gristmill.bootstrap.extensions import build_extensions
from gristmill.bootstrap.registry import build_catalogue
from gristmill.bootstrap.shared import Gristmill
from gristmill.bootstrap.sources import build_source_kinds
from gristmill.core.http.routes import Call
from gristmill.core.permissions import Permission
from gristmill.datasets import endpoints as dataset_endpoints
from gristmill.datasets.fit import endpoints as fit_endpoints
from gristmill.datasets.fit.service import DatasetFit
from gristmill.datasets.operations import endpoints as operation_endpoints
from gristmill.datasets.operations.service import DatasetOperations
from gristmill.datasets.parents.relations import Relations
from gristmill.datasets.service import DatasetService
from gristmill.images.duplicates import endpoints as duplicate_endpoints
from gristmill.images.duplicates.service import DUPLICATES, ImageDuplicates
from gristmill.images.read import endpoints as image_endpoints
from gristmill.images.read.service import RecordImages
from gristmill.jobs import endpoints as job_endpoints
from gristmill.jobs.job_types import endpoints as job_type_endpoints
from gristmill.jobs.job_types.submission import JobSubmission
from gristmill.jobs.service import JobService
from gristmill.records.aggregate import endpoints as aggregate_endpoints
from gristmill.records.aggregate.service import RecordAggregates
from gristmill.records.changes import endpoints as change_endpoints
from gristmill.records.changes.recompute import Recompute
from gristmill.records.changes.service import RecordChanges
from gristmill.records.export import endpoints as export_endpoints
from gristmill.records.export.service import RecordExports
from gristmill.records.export.stored import endpoints as stored_endpoints
from gristmill.records.export.stored.service import StoredExports
from gristmill.records.infer import endpoints as infer_endpoints
from gristmill.records.infer.service import RecordInference
from gristmill.records.ingest import endpoints as ingest_endpoints
from gristmill.records.ingest.service import RecordIngest
from gristmill.records.parents.early import EarlyParents
from gristmill.records.preview import endpoints as preview_endpoints
from gristmill.records.preview.service import RecordPreview
from gristmill.records.read import endpoints as read_endpoints
from gristmill.records.read.service import RecordReads
from gristmill.records.recompute import endpoints as recompute_endpoints
from gristmill.records.recompute.service import RecordRecompute
from gristmill.records.rejects import endpoints as reject_endpoints
from gristmill.records.rejects.service import RejectService
from gristmill.records.spool import Spool
from gristmill.records.submit import Submitter
from gristmill.records.transform import Pipelines
from gristmill.records.views import endpoints as view_endpoints
from gristmill.records.views.service import RecordViews
from gristmill.schedules import endpoints as schedule_endpoints
from gristmill.schedules.service import ScheduleService
from gristmill.search.index import endpoints as index_endpoints
from gristmill.search.index.service import IndexService
from gristmill.search.query import endpoints as search_endpoints
from gristmill.search.query.service import SearchService
from gristmill.search.recall import endpoints as recall_endpoints
from gristmill.search.recall.service import RecallService
from gristmill.sources import endpoints as source_endpoints
from gristmill.sources.service import SourceService
from gristmill.transforms import endpoints as transform_endpoints

# Changes of datasets, and what follows from them.
DATASET_JOBS = "dataset."


class ApiServices:
    """What the REST interface calls, one service for each domain."""

    def __init__(self, gristmill: Gristmill) -> None:
        self.gristmill = gristmill
        settings, database, lookup = gristmill.settings, gristmill.database, gristmill.dataset_lookup
        self.extensions = build_extensions(gristmill)
        self.jobs = JobService(database, gristmill.notifier)
        self.job_types = build_catalogue(gristmill)
        self.job_submission = JobSubmission(database, gristmill.admission, lookup.find)
        self.datasets = DatasetService(
            database,
            gristmill.admission,
            lookup,
            gristmill.embedders,
            default_embedder=settings.embeddings_default,
            steps=gristmill.steps,
            extensions=self.extensions,
        )
        relations = Relations(lookup)
        self.dataset_operations = DatasetOperations(database, gristmill.admission, lookup)
        self.dataset_fit = DatasetFit(database, gristmill.admission, lookup, gristmill.steps)
        self.spool = Spool(settings.api_spool_dir, settings.api_max_spool_bytes)
        self.submitter = Submitter(database, gristmill.admission, lookup)
        pipelines = Pipelines(gristmill.steps)
        recompute = Recompute(pipelines)
        early = EarlyParents(relations)
        self.record_ingest = RecordIngest(settings, database, self.submitter, self.spool, recompute, pipelines, early)
        self.record_changes = RecordChanges(settings, database, relations, recompute)
        self.record_recompute = RecordRecompute(settings, pipelines)
        self.record_reads = RecordReads(
            database, lookup, settings.reads_max_expanded, settings.reads_max_expanded_bytes
        )
        images = gristmill.images
        self.record_images = RecordImages(self.record_reads, None if images is None else images.reader)
        self.record_aggregates = RecordAggregates(settings, database, lookup, self.spool)
        self.record_preview = RecordPreview(self.submitter, self.datasets, self.record_reads, recompute, pipelines)
        self.record_inference = RecordInference(self.datasets, gristmill.embedders, settings.embeddings_default)
        self.views = RecordViews(settings, database, lookup, gristmill.steps)
        self.rejects = RejectService(database, lookup)
        self.stored_exports = StoredExports(settings, database, gristmill.admission, lookup, gristmill.files)
        self.sources = SourceService(database, lookup, build_source_kinds(), self.record_ingest, self.spool)
        self.schedules = ScheduleService(database, self.job_types, lookup, gristmill.admission)
        self.search = SearchService(database, lookup, gristmill.embedders)
        self.image_duplicates = ImageDuplicates(settings, database, gristmill.admission, lookup)
        self.indexes = IndexService(database, lookup, gristmill.admission, gristmill.build_settings)
        self.recall = RecallService(database, self.indexes, gristmill.admission)

    def calls(self) -> list[Call[Any]]:
        """The calls that come most often, as hot routes under /api/v1."""
        settings, submitter, spool = self.gristmill.settings, self.submitter, self.spool
        return [
            *ingest_endpoints.build_calls(self.record_ingest, submitter, settings, spool),
            *search_endpoints.build_calls(self.search),
            *read_endpoints.build_calls(self.record_reads),
            *aggregate_endpoints.build_calls(self.record_aggregates, settings),
            *job_endpoints.build_calls(),
            *job_type_endpoints.build_calls(self.job_types, self.job_submission),
            *change_endpoints.build_calls(self.record_changes, submitter, settings, spool),
        ]

    def routers(self) -> list[APIRouter]:
        """The other REST routes of all domains, to be mounted under /api/v1."""
        settings, database, lookup = self.gristmill.settings, self.gristmill.database, self.gristmill.dataset_lookup
        return [
            job_endpoints.build_router(self.jobs, self._permission_of),
            dataset_endpoints.build_router(self.datasets),
            infer_endpoints.build_router(self.record_inference, self.spool),
            transform_endpoints.build_router(self.gristmill.steps),
            operation_endpoints.build_router(self.dataset_operations),
            fit_endpoints.build_router(self.dataset_fit),
            ingest_endpoints.build_router(self.record_ingest, self.submitter, settings, self.spool),
            preview_endpoints.build_router(self.record_preview),
            recompute_endpoints.build_router(self.record_recompute, self.submitter),
            # Before the records, whose keys may be anything.
            image_endpoints.build_router(self.record_images, settings),
            read_endpoints.build_router(self.record_reads),
            view_endpoints.build_router(self.views),
            reject_endpoints.build_router(self.rejects),
            export_endpoints.build_router(RecordExports(database, lookup), settings),
            stored_endpoints.build_router(self.stored_exports, settings),
            index_endpoints.build_router(self.indexes),
            recall_endpoints.build_router(self.recall),
            duplicate_endpoints.build_router(self.image_duplicates),
            source_endpoints.build_router(self.sources),
            schedule_endpoints.build_router(self.schedules),
            *self._image_routers(),
        ]

    def _image_routers(self) -> list[APIRouter]:
        """Return what needs Pillow, where it is installed."""
        gristmill = self.gristmill
        if gristmill.images is None:
            return []
        from gristmill.images.export import endpoints as image_export_endpoints  # noqa: PLC0415 - Pillow is an extra
        from gristmill.images.export.service import ImageExports  # noqa: PLC0415

        exports = ImageExports(
            gristmill.settings,
            gristmill.database,
            gristmill.admission,
            gristmill.dataset_lookup,
            gristmill.files,
            gristmill.images.reader,
            gristmill.images.operations,
            self.spool,
            self.stored_exports,
        )
        return [image_export_endpoints.build_router(exports)]

    def _permission_of(self, job_type: str) -> Permission:
        """Return what a key needs for jobs of a type: what their submission needs."""
        if job_type.startswith(DATASET_JOBS) or job_type == DUPLICATES:
            return "admin"
        return self.job_types.permission_of(job_type) or "write"
