"""What /metrics shows of sources."""

from collections.abc import Iterable

from sqlalchemy import Connection

from gristmill.datasets.extensions import Gauge
from gristmill.sources.repository.requests import Source, all_sources
from gristmill.sources.states import SourceState

_LABELS = ("source", "kind")


def source_gauges(connection: Connection) -> Iterable[Gauge]:
    """Return counts, rate, lag and state of each source."""
    sources = all_sources(connection)

    def counter(name: str, text: str, member: str) -> Gauge:
        samples = [(_labels(one), float(getattr(one, member))) for one in sources]
        return Gauge(f"gristmill_source_{name}", text, _LABELS, samples, counter=True)

    yield counter("batches", "Jobs that a source submitted.", "batches")
    yield counter("records", "Records of a source that were accepted.", "records")
    yield counter("rejected", "Items of a source that did not fit.", "rejected")
    behind = [one for one in sources if one.lag_seconds is not None]
    yield Gauge(
        "gristmill_source_lag_seconds",
        "For how long the oldest record that is in no job has been ready.",
        _LABELS,
        [(_labels(one), float(one.lag_seconds or 0)) for one in behind],
    )
    yield Gauge(
        "gristmill_source_lag_records",
        "Records that a source has emitted and that are in no job.",
        _LABELS,
        [(_labels(one), float(one.lag_records)) for one in behind],
    )
    yield Gauge(
        "gristmill_source_failures",
        "Errors of a source in a row.",
        _LABELS,
        [(_labels(one), float(one.failures)) for one in sources],
    )
    yield Gauge(
        "gristmill_source_state",
        "1 for the state that a source is in.",
        (*_LABELS, "state"),
        [((*_labels(one), str(state)), float(one.state == state)) for one in sources for state in SourceState],
    )


def _labels(source: Source) -> tuple[str, str]:
    return source.name, source.kind
