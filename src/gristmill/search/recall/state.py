"""What is kept and shown of a measurement."""

import uuid

from sqlalchemy import Connection

from gristmill.datasets.extensions import Gauge
from gristmill.search.recall.learn import Recall
from gristmill.search.repository import recall, record_ids


def store_recall(
    connection: Connection,
    dataset_id: uuid.UUID,
    table: str,
    measured: Recall,
    target: float,
    took_ms: float,
    segments: int,
) -> None:
    """Keep a measurement, and what the dataset was like then. segments: the sum of the ids of those measured."""
    values = {
        "k": measured.k,
        "value": measured.value,
        "target": target,
        "samples": measured.samples,
        "segments": segments,
        "highest": record_ids.highest_id(connection, table),
        "changes": record_ids.changes(connection, table),
        "took_ms": took_ms,
    }
    recall.store(connection, dataset_id, values)


def recall_gauges(connection: Connection) -> list[Gauge]:
    """Return what ``/metrics`` shows of recall: what was measured, and the target at the time."""
    found = recall.list_measured(connection)
    measured = [((dataset, str(k)), value) for dataset, k, value, _ in found]
    targets = [((dataset, str(k)), target) for dataset, k, _, target in found]
    labels = ("dataset", "k")
    return [
        Gauge(
            "gristmill_search_recall",
            "Part of the k nearest records that a search through the indexes finds, as last measured.",
            labels,
            measured,
        ),
        Gauge("gristmill_search_recall_target", "Part that it shall find, as the contract says.", labels, targets),
    ]
