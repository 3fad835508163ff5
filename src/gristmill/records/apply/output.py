"""Validation after the last step of a pipeline: rows that fit the fields, and the records that do not."""

import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from gristmill.core.errors import Violation
from gristmill.datasets.contract import EMBEDDING_COLUMN, EXTRA_COLUMN
from gristmill.records.batch import Batch
from gristmill.records.readers.columnar import read_batch
from gristmill.records.readers.context import ReadContext
from gristmill.records.reject import Reject
from gristmill.records.validation.rows import Problems, RecordValidator
from gristmill.transforms.run import FailedRecord
from gristmill.transforms.spec import Indexes

Unfit = dict[int, list[Violation]]
"""What is wrong, by the row of the batch that the record is."""


def validate_output(validator: RecordValidator, batch: Batch) -> tuple[pa.Table, Indexes, Unfit]:
    """Return the rows that fit the fields as payload columns, their origins, and what is wrong by record.

    validator: of all that the pipeline makes, or of what is looked at. Pointers start with the row of the record in the
    batch; see ``of_record``.
    """
    assert batch.origins is not None
    refused: list[Reject] = []
    source = ReadContext(io.BytesIO(), validator, Problems(), rejects=refused.append)
    names = [name for name in validator.fields if name in batch.table.column_names]
    blocks = list(read_batch(source, batch.table.select(names), 0))
    table = pa.concat_tables([block.table for block in blocks]) if blocks else validator.to_table([])
    rows = np.concatenate([block.ords for block in blocks]) if blocks else np.empty(0, np.int64)
    unfit: Unfit = {}
    for reject in refused:
        unfit.setdefault(int(batch.origins[reject.record]), []).extend(reject.violations)
    for name in (EXTRA_COLUMN, EMBEDDING_COLUMN):
        if name in batch.table.column_names and name not in names:
            table = table.append_column(name, batch.table.column(name).take(rows))
    origins = batch.origins[rows]
    if unfit:
        # A record is written as a whole or not at all.
        whole = ~np.isin(origins, list(unfit))
        table, origins = table.filter(pa.array(whole)), origins[whole]
    for record, found in failures(batch).items():
        unfit.setdefault(record, []).extend(found)
    return table, origins, unfit


def failures(batch: Batch) -> Unfit:
    """Return what is wrong with the records that steps failed on."""
    return {one.record: [violation_of(one)] for one in batch.failed}


def violation_of(failed: FailedRecord) -> Violation:
    """Return a failure as what is wrong with its record, which the pointer begins with as in ``validate_output``."""
    return Violation(f"/{failed.record}/{failed.field}", failed.code, failed.full_reason, field=failed.field)


def of_record(record: int, violations: Sequence[Violation]) -> tuple[Violation, ...]:
    """Return the violations with the record's place in the request for that in the table."""
    found = []
    for violation in violations:
        inside = violation.pointer.removeprefix("/").partition("/")[2]
        pointer = f"/{record}/{inside}" if inside else f"/{record}"
        found.append(replace(violation, pointer=pointer, record=record))
    return tuple(found)
