"""The raw form of a record that failed in the worker, where its body is gone: made of the columns of its payload."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from gristmill.records.rejects.cells import csv_cells, csv_line
from gristmill.records.validation.columns import show_row
from gristmill.records.validation.rows import RecordValidator

# In the arguments of a job whose body was CSV: its header.
COLUMNS = "csv_columns"


def raw_record(validator: RecordValidator, table: pa.Table, row: int, args: Mapping[str, Any]) -> bytes:
    """Return a JSON object, or a CSV row where the other rejects of the job are such rows.

    validator: that of what clients send. args: the arguments of the job.
    """
    shown = show_row(validator, table, row)
    columns = args.get(COLUMNS)
    if columns is None:
        return shown
    cells, _ = csv_cells(shown, None, validator.fields)
    by_name = dict(zip(validator.fields, cells, strict=True))
    return csv_line([by_name.get(name) for name in columns]).removesuffix(b"\r\n")
