"""Errors of the search domain.

GristmillError
├── Invalid ── NotSearchable              the dataset has no embedding, or none that reads text
└── IndexBuildInterrupted                 retryable: an index build was cancelled or kept from its locks
    └── OutOfSpace                        Postgres had no memory left for it
        └── NoDiskLeft                    no disk, or no shared memory: it waits
"""

from gristmill.core.errors import GristmillError, Invalid


class NotSearchable(Invalid):
    code = "not_searchable"
    title = "The dataset cannot be searched like this"


class IndexBuildInterrupted(GristmillError):
    """Somebody needed the table (a change or drop of the dataset), or a long transaction kept the build waiting."""

    code = "index_build_interrupted"
    kind = "unavailable"
    status = 503
    title = "The index build was interrupted"
    retryable = True


class OutOfSpace(IndexBuildInterrupted):
    """The graph did not fit the shared memory of the machine, or the index its disk."""


class NoDiskLeft(OutOfSpace):
    code = "storage_full"
    title = "No room on disk"
    costs_attempt = False
