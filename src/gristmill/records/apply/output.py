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
    for failed in batch.failed:
        number, op = failed.step
        reason = f"step {number} ({op}): {failed.reason}"
        pointer = f"/{failed.record}/{failed.field}"
        unfit.setdefault(failed.record, []).append(Violation(pointer, failed.code, reason, field=failed.field))
    return table, origins, unfit


def of_record(record: int, violations: Sequence[Violation]) -> tuple[Violation, ...]:
    """Return the violations with the record's place in the request for that in the table."""
    found = []
    for violation in violations:
        inside = violation.pointer.removeprefix("/").partition("/")[2]
        pointer = f"/{record}/{inside}" if inside else f"/{record}"
        found.append(replace(violation, pointer=pointer, record=record))
    return tuple(found)
