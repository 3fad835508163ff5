"""Handler of ``images.duplicates``."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from sqlalchemy import Connection

from gristmill.core.database import DATA_SCHEMA, Database, set_time_limit
from gristmill.datasets import ddl
from gristmill.datasets import repository as datasets
from gristmill.datasets.contract import Contract, load_contract
from gristmill.datasets.errors import UnknownDataset
from gristmill.datasets.extensions import DatasetExtension
from gristmill.datasets.lookup import DROPPED
from gristmill.datasets.tasks import DatasetHandler, id_of, require_ready
from gristmill.images.duplicates import repository
from gristmill.images.duplicates.compare import Compared, compare
from gristmill.images.duplicates.schemas import DISTANCE, FIRST_OF, GROUP
from gristmill.images.duplicates.service import DUPLICATES
from gristmill.jobs.errors import JobDropped
from gristmill.jobs.handlers import ChunkTask, Outcome
from gristmill.kit.pace import Pace

# Seconds between two looks at whether the job is cancelled.
_LOOK_EVERY = 0.5


@dataclass(frozen=True, slots=True)
class Prepared:
    """compared: None where no record has a vector. target: the contract of the result."""

    compared: Compared | None
    target: Contract


class DuplicatesHandler(DatasetHandler):
    """Compares vectors in no transaction, then makes the table and fills it in one.

    args: dataset_id and version of the result, source_id, threshold, where. It is alone in the scopes of both: what is
    read page by page does not change meanwhile.
    """

    type = DUPLICATES
    queue = "long"

    def __init__(self, database: Database, extensions: Sequence[DatasetExtension], most: int) -> None:
        super().__init__(extensions)
        self._database = database
        self._most = most

    def prepare(self, task: ChunkTask) -> Prepared:
        with self._database.autocommit() as connection:
            source, target = self._contracts(connection, task)
        assert source.embedding is not None  # it was checked, and is never removed
        pages = self._pages(source, task.args["where"])
        return Prepared(compare(pages, source.embedding, task.args["threshold"], self._most, _ticks(task)), target)

    def apply(self, connection: Connection, task: ChunkTask, prepared: Prepared) -> Outcome:
        target = prepared.target
        self.clear(connection, target.name)
        ddl.create_table(connection, target, id_of(task))
        set_time_limit(connection, 0)
        counts = {"compared": 0, "groups": 0}
        rows = 0
        if prepared.compared is not None:
            table = _rows(prepared.compared, target, task.seq)
            repository.write_rows(connection, target, table)
            groups = prepared.compared.found.groups
            counts = {"compared": prepared.compared.keys.num_rows, "groups": int(groups.max(initial=0))}
            rows = table.num_rows
        set_time_limit(connection, None)
        # Locked at the end only: whoever drops the result does not wait for the job, which ends then.
        self.dataset(connection, task)
        self.finish_creation(connection, id_of(task), target.name, task.args["version"])
        return Outcome(rows=rows, result={"table": f"{DATA_SCHEMA}.{target.name}", **counts})

    def _pages(self, source: Contract, where: Any) -> Iterator[tuple[pa.Table, list[bytes]]]:
        # No connection is held while the vectors are compared.
        with self._database.autocommit() as connection:
            yield from repository.read_vectors(connection, source, where)

    def _contracts(self, connection: Connection, task: ChunkTask) -> tuple[Contract, Contract]:
        """Return the contracts of the source and of the result."""
        row = datasets.find(connection, id_of(task))
        made = datasets.find_version(connection, id_of(task), task.args["version"])
        if row is None or made is None or row["state"] in ("dropping", "dropped"):
            raise JobDropped(DROPPED)
        source = datasets.find(connection, uuid.UUID(task.args["source_id"]))
        if source is None or source["state"] in ("dropping", "dropped"):
            raise UnknownDataset("The dataset whose records were to be compared was dropped meanwhile")
        require_ready(connection, source)
        applied = datasets.find_applied(connection, source["id"])
        assert applied is not None  # it is ready
        return load_contract(applied["contract"]), load_contract(made["contract"])


def _rows(compared: Compared, target: Contract, seq: int) -> pa.Table:
    """Return the rows of the result, in the order of the key."""
    found, keys = compared.found, compared.keys
    columns: dict[str, Any] = dict(zip(keys.column_names, keys.take(pa.array(found.records)).columns, strict=True))
    firsts = keys.take(pa.array(found.firsts))
    columns |= {FIRST_OF + name: column for name, column in zip(firsts.column_names, firsts.columns, strict=True)}
    columns[GROUP] = pa.array(found.groups, pa.int64())
    columns[DISTANCE] = pa.array(found.distances, pa.float64())
    columns["_seq"] = pa.array(np.full(len(found.records), seq), pa.int64())
    columns["_ord"] = pa.array(np.arange(len(found.records)), pa.int64())
    return pa.table(columns).select([*(field.name for field in target.fields), "_seq", "_ord"])


def _ticks(task: ChunkTask) -> Callable[[float], None]:
    """Return what reports the share that is done, and ends the work of a job that is cancelled."""
    look = Pace(task.check, _LOOK_EVERY)

    def tick(share: float) -> None:
        task.report(share)
        look()

    return tick
