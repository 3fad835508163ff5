"""The raw form of a record that failed in the worker, where its body is gone: made of the columns of its payload."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from gristmill.datasets.contract import EXTRA_COLUMN
from gristmill.records.readers.csv_numbers import from_plain, is_number
from gristmill.records.readers.csv_syntax import syntax_of
from gristmill.records.readers.dialect import CsvDialect
from gristmill.records.rejects.cells import csv_cells, csv_line
from gristmill.records.validation.columns import show_row
from gristmill.records.validation.rows import RecordValidator

# In the arguments of a job whose body was CSV: its header.
COLUMNS = "csv_columns"
# And what it was written in, where that is not the default: the members of a CsvDialect.
DIALECT = "csv_dialect"


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
    if by_name.get(EXTRA_COLUMN) is not None:
        by_name |= _columns_of(json.loads(by_name[EXTRA_COLUMN] or ""), columns, validator)
    syntax = syntax_of(dialect_of(args))
    if not syntax.dialect.has_plain_numbers:
        for name, field in validator.fields.items():
            number = by_name.get(name)
            by_name[name] = from_plain(number, syntax.dialect) if number and is_number(field) else number
    return csv_line([by_name.get(name) for name in columns], syntax).removesuffix(b"\r\n")


def dialect_of(args: Mapping[str, Any]) -> CsvDialect:
    """Return the dialect in which the CSV rows among the rejects of a job are written. args: those of the job."""
    return CsvDialect(**args.get(DIALECT, {}))


def _columns_of(extra: Any, columns: Sequence[str], validator: RecordValidator) -> dict[str, str | None]:
    """Return the cells of ``_extra``: its texts in the columns of their names that are no fields, the rest in its own.

    extra: of a record of a CSV body, where the members of these columns are texts.
    """
    if validator.unknown != "collect":
        return {}
    names = [name for name in columns if name not in validator.fields and isinstance(extra.get(name), str)]
    own = {name: extra.pop(name) for name in names}
    return {**own, EXTRA_COLUMN: json.dumps(extra, ensure_ascii=False) if extra else None}
