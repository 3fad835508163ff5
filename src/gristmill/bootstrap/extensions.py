"""What the domains above datasets add to them."""

from gristmill.bootstrap.shared import Gristmill
from gristmill.datasets.extensions import DatasetExtension
from gristmill.records.retention.tasks import Retention, forget_retention, retention_state
from gristmill.schedules.metrics import schedule_gauges
from gristmill.search.index.report import index_state
from gristmill.search.index.restarts import EVERY as RESTARTS_EVERY
from gristmill.search.index.restarts import RestartWatch
from gristmill.search.index.scheduler import IndexScheduler
from gristmill.search.index.tasks import empty_catalogue, interrupt_builds, release_table
from gristmill.search.recall.keeper import RecallKeeper
from gristmill.search.recall.state import recall_gauges
from gristmill.search.repository import catalogue
from gristmill.sources.drops import fail_sources
from gristmill.sources.metrics import source_gauges


def build_extensions(gristmill: Gristmill) -> list[DatasetExtension]:
    """Return one object for each domain."""
    settings, database = gristmill.settings, gristmill.database
    return [
        DatasetExtension(
            name="index",
            on_alter=interrupt_builds,
            on_drop=release_table,
            on_truncate=empty_catalogue,
            on_rename=catalogue.rename,
            state=lambda connection, dataset: index_state(connection, dataset) if dataset.contract.embedding else None,
            gauges=recall_gauges,
            maintenance=(
                (2.0, IndexScheduler(database, gristmill.build_settings).run),
                (RESTARTS_EVERY, RestartWatch(database).run),
                (10.0, RecallKeeper(database, settings.search_recall_samples).run),
            ),
        ),
        DatasetExtension(name="sources", on_drop=fail_sources, gauges=source_gauges),
        DatasetExtension(name="schedules", gauges=schedule_gauges),
        DatasetExtension(
            name="retention",
            on_drop=forget_retention,
            state=lambda connection, dataset: retention_state(connection, dataset) if dataset.contract.keep else None,
            maintenance=((settings.jobs_expire_every, Retention(database, settings.jobs_max_attempts).run),),
        ),
    ]
