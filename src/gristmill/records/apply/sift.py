"""Under quarantine: records that do not fit their parents or children leave the chunk before it is written."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
from sqlalchemy import Connection

from gristmill.datasets.lookup import Dataset
from gristmill.jobs.handlers import ChunkTask
from gristmill.records.apply.pipeline import Prepared
from gristmill.records.apply.upsert import split_places
from gristmill.records.columns import ORD_COLUMN
from gristmill.records.parents.written import WrittenRecords
from gristmill.records.payload import decode
from gristmill.records.reject import Reject
from gristmill.records.rejects.raw import raw_record
from gristmill.records.validation.rows import validator_of


def sift(
    connection: Connection,
    written: WrittenRecords,
    dataset: Dataset,
    submitted: Dataset,
    task: ChunkTask,
    prepared: Prepared,
) -> Prepared:
    """Return what is to be written of ``prepared``, the rest among its rejects.

    dataset: as its table is now. submitted: as the records were validated. Where a row is not one record, because a
    step made several rows of one or one of several, nothing leaves: the check after the writing fails the chunk.
    """
    if task.args.get("on_error") != "quarantine" or not prepared.table.num_rows:
        return prepared
    if prepared.merged or prepared.records != prepared.table.num_rows:
        return prepared
    table, places = split_places(prepared.table, task.first_record)
    ords = places.to_numpy()
    skip = task.args.get("on_conflict") == "skip"
    unfit = written.unfit(connection, dataset, table, ords.tolist(), skip)
    if not unfit:
        return prepared
    payload, of_payload = split_places(decode(task.payload or b""), task.first_record)
    rows = {place: row for row, place in enumerate(of_payload.to_pylist())}
    validator = validator_of(submitted.contract)
    rejects = [
        Reject(int(ords[row]), None, raw_record(validator, payload, rows[int(ords[row])], task.args), (violation,))
        for row, violation in unfit.items()
    ]
    fits = np.ones(prepared.table.num_rows, np.bool_)
    fits[list(unfit)] = False
    # The records that stay keep their places.
    numbered = table.append_column(ORD_COLUMN, places)
    return replace(
        prepared,
        table=numbered.filter(pa.array(fits)),
        records=prepared.records - len(unfit),
        rejects=sorted([*prepared.rejects, *rejects], key=lambda reject: reject.record),
    )
