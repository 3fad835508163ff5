"""The kinds of sources of this installation, and what runs them."""

import threading

from gristmill.bootstrap.shared import Gristmill
from gristmill.datasets.parents.relations import Relations
from gristmill.records.changes.recompute import Recompute
from gristmill.records.ingest.service import RecordIngest
from gristmill.records.parents.early import EarlyParents
from gristmill.records.spool import Spool
from gristmill.records.submit import Submitter
from gristmill.records.transform import Pipelines
from gristmill.sources.kinds.simulator import Simulator
from gristmill.sources.registry import AnyKind, SourceKinds
from gristmill.sources.run import RetryPolicy
from gristmill.sources.runner import SourceRunner
from gristmill.sources.submit import BatchSubmitter

# Each is a file of ``sources/kinds``.
KINDS: list[type[AnyKind]] = [Simulator]


def build_source_kinds() -> SourceKinds:
    """Return the kinds of sources."""
    return SourceKinds(KINDS)


def build_batch_submitter(gristmill: Gristmill) -> BatchSubmitter:
    """Return what submits the batches of sources, the way that the API submits the records of requests."""
    settings, database, lookup = gristmill.settings, gristmill.database, gristmill.dataset_lookup
    spool = Spool(settings.api_spool_dir, settings.api_max_spool_bytes)
    submitter = Submitter(database, gristmill.admission, lookup)
    pipelines, early = Pipelines(gristmill.steps), EarlyParents(Relations(lookup))
    ingest = RecordIngest(settings, database, submitter, spool, Recompute(pipelines), pipelines, early)
    return BatchSubmitter(database, lookup, ingest, submitter, spool, gristmill.notifier, settings.sources_lease)


def build_runner(gristmill: Gristmill, owner: str, stop: threading.Event) -> SourceRunner:
    """Return the runner of a process called ``owner``."""
    settings = gristmill.settings
    return SourceRunner(
        gristmill.database,
        build_source_kinds(),
        build_batch_submitter(gristmill),
        owner=owner,
        lease=settings.sources_lease,
        heartbeat=settings.sources_heartbeat,
        poll=settings.sources_poll,
        most=settings.sources_most,
        retry=RetryPolicy(settings.sources_retry_base, settings.sources_retry_max),
        stop=stop,
    )
