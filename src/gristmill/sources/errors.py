"""Errors of sources, and the signal that a lease is lost.

GristmillError
├── NotFound ── UnknownSource        no source has that name
├── Conflict
│   ├── SourceExists                 the name is taken
│   ├── SourceNotRunning             only a source that runs can be paused
│   └── SourceFailed                 the source cannot go on by itself: it stays failed until it is resumed
└── Unavailable ── SourceUnavailable what the source reads does not answer: it is tried again
"""

from gristmill.core.errors import Conflict, NotFound, Unavailable
from gristmill.jobs.errors import Signal


class UnknownSource(NotFound):
    code = "unknown_source"
    title = "Unknown source"


class SourceExists(Conflict):
    code = "source_exists"
    title = "The source exists"


class SourceNotRunning(Conflict):
    code = "source_not_running"
    title = "The source does not run"


class SourceFailed(Conflict):
    code = "source_failed"
    title = "The source has failed"


class SourceUnavailable(Unavailable):
    code = "source_unavailable"
    title = "What the source reads is not available"


class LeaseLost(Signal):
    """The source is not this runner's any more, or its position is not where this runner left it."""
