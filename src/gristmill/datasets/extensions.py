"""What other domains add to datasets: one object for each domain, made in bootstrap."""

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from gristmill.datasets.lookup import Dataset

TableHook = Callable[[Connection, uuid.UUID, str], None]
"""Called with the dataset's id and name in the transaction that makes, changes or drops its table."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """A figure for ``/metrics``. samples: (values of the labels, value). counter: it only grows."""

    name: str
    help: str
    labels: Sequence[str]
    samples: Sequence[tuple[Sequence[str], float]]
    counter: bool = False


RenameHook = Callable[[Connection, uuid.UUID, str, str], None]
"""Called with the dataset's id, its old and its new name in the transaction that renames its table."""


def _renames_nothing(_connection: Connection, _dataset_id: uuid.UUID, _old: str, _new: str) -> None:
    pass


def _nothing(_connection: Connection, _dataset_id: uuid.UUID, _name: str) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetExtension:
    """One domain's part in datasets. What it has no use for stays at its default.

    name: the member of ``GET /datasets/{d}`` that ``state`` fills; null where it has nothing to say of a dataset.
    on_create: after the table was made. on_alter, on_drop: before it is changed (renamed and truncated too) or dropped.
    on_truncate: after all its rows were deleted. on_rename: after it was renamed with its indexes.
    gauges: read at each scrape. maintenance: (seconds between two runs, what); it returns how many jobs it submitted.
    """

    name: str
    on_create: TableHook = _nothing
    on_alter: TableHook = _nothing
    on_drop: TableHook = _nothing
    on_truncate: TableHook = _nothing
    on_rename: RenameHook = _renames_nothing
    state: Callable[[Connection, Dataset], dict[str, Any] | None] = lambda _connection, _dataset: None
    gauges: Callable[[Connection], Iterable[Gauge]] = lambda _connection: ()
    maintenance: Sequence[tuple[float, Callable[[], int]]] = ()
