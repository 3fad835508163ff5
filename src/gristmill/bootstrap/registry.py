"""The handlers of all job types, those of plugins included."""

from gristmill.bootstrap.extensions import build_extensions
from gristmill.bootstrap.plugins import load_plugins
from gristmill.bootstrap.shared import Gristmill
from gristmill.core.config import Settings, load_settings
from gristmill.datasets.field_indexes.tasks import FieldIndexesHandler
from gristmill.datasets.fit.tasks import FitHandler
from gristmill.datasets.operations.tasks import CopyHandler, RenameHandler, TruncateHandler
from gristmill.datasets.parents.relations import Relations
from gristmill.datasets.primary_key.tasks import PrimaryKeyHandler
from gristmill.datasets.tasks import AlterHandler, CreateHandler, DropHandler
from gristmill.images.duplicates.tasks import DuplicatesHandler
from gristmill.jobs.handlers import Handler, Registry
from gristmill.jobs.job_types.catalogue import Catalogue, Plugin
from gristmill.jobs.job_types.functions import FunctionHandler
from gristmill.records.apply.pipeline import BatchPipeline
from gristmill.records.apply.tasks import IngestHandler, MergeHandler
from gristmill.records.changes.recompute import Recompute
from gristmill.records.changes.tasks import (
    DeleteHandler,
    DeleteKeysHandler,
    DeleteWhereHandler,
    PatchHandler,
    PatchWhereHandler,
)
from gristmill.records.changes.writes import Writes
from gristmill.records.embedding import EmbeddingStep
from gristmill.records.export.service import RecordExports
from gristmill.records.export.stored.tasks import CreateExportHandler, RemoveExportsHandler
from gristmill.records.parents.written import WrittenRecords
from gristmill.records.recompute.tasks import RecomputeHandler
from gristmill.records.retention.tasks import ExpireHandler
from gristmill.records.targets import Targets
from gristmill.records.transform import Pipelines, TransformStep
from gristmill.search.index.builder import IndexBuilder
from gristmill.search.index.tasks import IndexBuildHandler, IndexRebuildHandler, IndexWarmHandler
from gristmill.search.index.warm import IndexWarmer
from gristmill.search.recall.tasks import IndexRecallHandler
from gristmill.search.recall.tasks import Limits as RecallLimits


def build_registry(gristmill: Gristmill) -> Registry:
    """Return the registry; each plugin adds its job types."""
    return _load(gristmill)[0]


def build_catalogue(gristmill: Gristmill) -> Catalogue:
    """Return the job types that may be submitted by their names."""
    registry, plugins = _load(gristmill)
    declared = [handler.job_type for handler in registry if isinstance(handler, FunctionHandler)]
    return Catalogue(declared, plugins, gristmill.settings.jobs_max_attempts)


def _load(gristmill: Gristmill) -> tuple[Registry, list[Plugin]]:
    registry = Registry()
    for handler in _handlers(gristmill):
        registry.add(handler)
    return registry, load_plugins(gristmill, registry)


def job_types(settings: Settings | None = None) -> list[str]:
    """Return every job type, sorted."""
    registry = build_registry(Gristmill(settings or load_settings(), "gristmill-types"))
    return sorted(handler.type for handler in registry)


def _handlers(gristmill: Gristmill) -> list[Handler]:
    settings, database, lookup = gristmill.settings, gristmill.database, gristmill.dataset_lookup
    extensions, relations = build_extensions(gristmill), Relations(lookup)
    written = WrittenRecords(relations)
    targets, embedding = Targets(database, lookup), EmbeddingStep(gristmill.embedders)
    pipelines, writes = Pipelines(gristmill.steps), Writes(relations)
    pipeline = BatchPipeline(targets, pipelines, [TransformStep(pipelines), embedding])
    warmer = IndexWarmer(database)
    builder = IndexBuilder(database, gristmill.build_settings, warmer)
    recall_limits = RecallLimits(settings.search_recall_samples, settings.search_recall_seconds)

    def count_expired(dataset: str, deleted: int) -> None:
        if deleted:
            gristmill.counters.count("records_expired", dataset, deleted)

    return [
        CreateHandler(extensions, relations),
        AlterHandler(extensions, relations),
        DropHandler(extensions),
        TruncateHandler(extensions),
        RenameHandler(extensions),
        CopyHandler(extensions, relations),
        FitHandler(extensions, gristmill.steps),
        PrimaryKeyHandler(database),
        FieldIndexesHandler(database),
        IngestHandler(targets, pipeline, written),
        MergeHandler(database, targets, pipeline, embedding, written),
        PatchHandler(database, targets, embedding, Recompute(pipelines), writes),
        DeleteHandler(targets, writes),
        DeleteWhereHandler(targets, writes),
        DeleteKeysHandler(targets, writes),
        PatchWhereHandler(targets, embedding, Recompute(pipelines), writes),
        RecomputeHandler(targets, pipelines, embedding, relations),
        CreateExportHandler(
            database, lookup, RecordExports(database, lookup), gristmill.files, settings.export_patience
        ),
        *_image_handlers(gristmill),
        RemoveExportsHandler(database, gristmill.files, grace=settings.export_grace),
        ExpireHandler(database, count_expired),
        IndexBuildHandler(builder),
        IndexRebuildHandler(builder),
        IndexWarmHandler(warmer),
        IndexRecallHandler(database, lookup, recall_limits),
        DuplicatesHandler(database, extensions, settings.images_max_compared),
    ]


def _image_handlers(gristmill: Gristmill) -> list[Handler]:
    """Return what needs Pillow, where it is installed."""
    images, database = gristmill.images, gristmill.database
    if images is None:
        return []
    from gristmill.images.export.records import ExportedDatasets  # noqa: PLC0415 - Pillow is an extra
    from gristmill.images.export.tasks import ImageExportHandler  # noqa: PLC0415

    datasets = ExportedDatasets(database, gristmill.dataset_lookup)
    return [ImageExportHandler(database, datasets, gristmill.files, images.reader, images.operations)]
