"""``/metrics``: the metrics of this process, and those of all processes that Postgres keeps."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from gristmill.broker.queues import queue_names
from gristmill.core.database import Database
from gristmill.datasets.extensions import DatasetExtension
from gristmill.jobs.repository import read
from gristmill.jobs.repository.counters import read_counters

REQUEST_SECONDS = Histogram(
    "gristmill_request_seconds",
    "Time from a request's first byte to its answer, waits included.",
    ["method", "route", "status"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
    registry=None,
)
# name in the table of counters -> (help, names of the labels, whose values are joined by colons)
COUNTERS = {
    "records_written": ("Records that jobs wrote.", ["type"]),
    "records_superseded": ("Records that a newer record of the same key made void.", ["type"]),
    "records_dropped": ("Records that a filter of a pipeline took away.", ["type"]),
    "records_expired": (
        "Records that were deleted because they were older than their dataset keeps them.",
        ["dataset"],
    ),
    "images_exported": ("Images that exports made files of.", ["dataset"]),
    "images_failed": ("Records whose image an export could not make a file of.", ["dataset"]),
    "jobs_finished": ("Jobs that finished, by type and state.", ["type", "state"]),
    "lease_losses": ("Chunks taken from a worker that was lost.", ["type"]),
}
HISTOGRAMS = {"job_seconds": "Time from a job's submission to its end, by type."}


class PostgresCollector:
    """Reads what Postgres knows at the time of the scrape."""

    def __init__(self, database: Database, extensions: Sequence[DatasetExtension]) -> None:
        self._database = database
        self._extensions = extensions

    def collect(self) -> Iterable[Metric]:
        with self._database.autocommit() as connection:
            chunks = read.live_chunks(connection)
            staged = read.sum_staged_bytes(connection)
            queued = read.count_queued(connection)
            live = read.live_processes(connection)
            stored = read_counters(connection)
            gauges = [gauge for extension in self._extensions for gauge in extension.gauges(connection)]
        yield from _chunks(chunks)
        yield GaugeMetricFamily("gristmill_staged_bytes", "Bytes of payloads in Postgres.", value=staged)
        yield GaugeMetricFamily("gristmill_unfinished_jobs", "Jobs that have not finished.", value=queued)
        processes = GaugeMetricFamily(
            "gristmill_processes", "Dispatchers, workers and source runners that are alive.", labels=["kind", "queue"]
        )
        for kind, queue, number, _ in live:
            processes.add_metric([kind, queue], number)
        yield processes
        for gauge in gauges:
            make = CounterMetricFamily if gauge.counter else GaugeMetricFamily
            family = make(gauge.name, gauge.help, labels=gauge.labels)
            for labels, value in gauge.samples:
                family.add_metric(labels, value)
            yield family
        yield from _stored(stored)


def _chunks(chunks: Sequence[tuple[str, str, int, float]]) -> Iterable[Metric]:
    age = GaugeMetricFamily(
        "gristmill_oldest_due_chunk_seconds",
        "Age of the oldest chunk that is due and not claimed.",
        labels=["queue"],
    )
    states = GaugeMetricFamily("gristmill_chunks", "Live chunks by queue and state.", labels=["queue", "state"])
    for queue in queue_names():
        age.add_metric([queue], max((c[3] for c in chunks if c[0] == queue and c[1] != "running"), default=0.0))
        for state in ("waiting", "sent", "running"):
            states.add_metric([queue, state], sum(c[2] for c in chunks if c[:2] == (queue, state)))
    yield age
    yield states


def _stored(stored: list[tuple[str, str, float]]) -> Iterable[Metric]:
    by_name: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for name, label, value in stored:
        by_name[name].append((label, value))
    for name, (text, label_names) in COUNTERS.items():
        counter = CounterMetricFamily(f"gristmill_{name}", text, labels=label_names)
        for label, value in by_name[name]:
            counter.add_metric(label.split(":"), value)
        yield counter
    for name, text in HISTOGRAMS.items():
        family = HistogramMetricFamily(f"gristmill_{name}", text, labels=["type"])
        sums = dict(by_name[f"{name}_sum"])
        for label, count in by_name[f"{name}_count"]:
            buckets = [
                (part.rsplit("|", 1)[1], value)
                for part, value in by_name[f"{name}_bucket"]
                if part.rsplit("|", 1)[0] == label
            ]
            buckets.sort(key=lambda bucket: float(bucket[0]))
            family.add_metric([label], [*buckets, ("+Inf", count)], sums.get(label, 0.0))
        yield family


def make_registry(database: Database, extensions: Sequence[DatasetExtension]) -> CollectorRegistry:
    """Return the registry that ``/metrics`` shows."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(REQUEST_SECONDS)
    registry.register(PostgresCollector(database, extensions))
    return registry


def render(registry: CollectorRegistry) -> bytes:
    """Return the exposition text. Raises DatabaseUnavailable."""
    return generate_latest(registry)
