"""The formats of an export: what COPY is asked for, and what becomes of each page that it gives."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import sqlalchemy as sa

from gristmill.core.errors import Invalid, Violation
from gristmill.core.http.bodies import ARROW
from gristmill.datasets.contract import Contract, FieldSpec
from gristmill.datasets.types import TYPES, FieldType
from gristmill.kit.drain import Drain
from gristmill.records.arrow_rows import read_rows, type_metadata

# A row group is written when it has so many rows or bytes: large enough to compress, small enough to hold in memory.
GROUP_ROWS = 65_536
GROUP_BYTES = 8 * 1024 * 1024


class Format:
    """One export in one format; used for one export only. The bytes of head, pages and tail in a row are the file."""

    media_type: str
    suffix: str

    def __init__(self, contract: Contract, names: Sequence[str]) -> None:
        self._names = list(names)
        self._fields = [contract.column(name) for name in names]

    def shown(self, table: sa.Table) -> list[Any]:
        """Return the columns that a page selects."""
        return [self.expression(TYPES[field.type], table.c[field.name]).label(field.name) for field in self._fields]

    def expression(self, kind: FieldType, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """Return what Postgres writes of a column; the text is the one that POST takes, as ``docs/types.md`` has it."""
        raise NotImplementedError

    def copy(self, query: str) -> str:
        """Return the COPY statement for a page's ``query``."""
        return f"COPY ({query}) TO STDOUT (FORMAT csv)"

    def head(self) -> bytes:
        return b""

    def page(self, copied: bytes) -> bytes:
        """Return what the data of COPY become; not all of them need come out at once."""
        return copied

    def tail(self) -> bytes:
        return b""


class CsvFormat(Format):
    """RFC 4180 with a header row; null is an empty cell, empty text is ``""``."""

    media_type = "text/csv; charset=utf-8; header=present"
    suffix = "csv"

    def __init__(self, contract: Contract, names: Sequence[str]) -> None:
        super().__init__(contract, names)
        if len(names) == 1 and not contract.column(names[0]).required:
            reason = f"In CSV of {names[0]} alone a null would be an empty line, which readers skip: choose ndjson"
            raise Invalid(reason, [Violation("/query/format", "ambiguous", reason, field="format")])

    def expression(self, kind: FieldType, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return kind.csv_cell(column)

    def head(self) -> bytes:
        # Names of fields never need quotes.
        return (",".join(self._names) + "\n").encode()


class NdjsonFormat(Format):
    """One JSON object a line."""

    media_type = "application/x-ndjson"
    suffix = "ndjson"

    def expression(self, kind: FieldType, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return kind.json_member(column)

    def copy(self, query: str) -> str:
        return f"COPY (SELECT row_to_json(r) FROM ({query}) AS r) TO STDOUT"  # noqa: S608 - made by SQLAlchemy

    def page(self, copied: bytes) -> bytes:
        # COPY doubles backslashes; nothing else that it escapes stands in JSON on one line.
        return copied.replace(b"\\\\", b"\\")


class ColumnFormat(Format):
    """Typed columns: decimals, UUIDs and JSON as text, vectors as fixed-size lists of float32, images as binary."""

    # What writes tables to ``_file``, made by the formats.
    _writer: Any

    def __init__(self, contract: Contract, names: Sequence[str]) -> None:
        super().__init__(contract, names)
        self._schema = pa.schema([_column(field) for field in self._fields])
        self._file = Drain()
        self._pending: list[pa.Table] = []

    def expression(self, kind: FieldType, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return kind.arrow_cell(column)

    def head(self) -> bytes:
        return self._file.drain()

    def page(self, copied: bytes) -> bytes:
        if copied:
            self._pending.append(self._parse(copied))
        rows = sum(table.num_rows for table in self._pending)
        if rows >= GROUP_ROWS or sum(table.nbytes for table in self._pending) >= GROUP_BYTES:
            self._flush()
        return self._file.drain()

    def tail(self) -> bytes:
        self._flush()
        self._writer.close()
        return self._file.drain()

    def write(self, group: pa.Table) -> None:
        """Write some rows as one group of the format."""
        raise NotImplementedError

    def _flush(self) -> None:
        if self._pending:
            group = pa.concat_tables(self._pending)
            self._pending.clear()
            self.write(group)

    def _parse(self, copied: bytes) -> pa.Table:
        return pa.Table.from_arrays(read_rows(self._fields, copied).columns, schema=self._schema)


class ParquetFormat(ColumnFormat):
    """A Parquet file, a row group for each group."""

    media_type = "application/vnd.apache.parquet"
    suffix = "parquet"

    def __init__(self, contract: Contract, names: Sequence[str]) -> None:
        super().__init__(contract, names)
        kinds = {name: self._schema.field(name).type for name in names}
        plain = [name for name in names if not pa.types.is_fixed_size_list(kinds[name])]
        self._writer = pyarrow.parquet.ParquetWriter(
            self._file,
            self._schema,
            # Vectors do not compress; trying would take longer than everything else.
            compression=dict.fromkeys(plain, "zstd"),
            use_dictionary=[name for name in names if pa.types.is_string(kinds[name])],
            write_statistics=plain,
        )

    def write(self, group: pa.Table) -> None:
        self._writer.write_table(group, row_group_size=group.num_rows)


class ArrowFormat(ColumnFormat):
    """An Arrow IPC stream, a record batch for each group."""

    media_type = ARROW
    suffix = "arrows"

    def __init__(self, contract: Contract, names: Sequence[str]) -> None:
        super().__init__(contract, names)
        self._writer = pa.ipc.new_stream(self._file, self._schema)

    def write(self, group: pa.Table) -> None:
        self._writer.write_table(group.combine_chunks())


def _column(field: FieldSpec) -> pa.Field:
    """Return the column of a field; its metadata is what people are told of the field, and its type by the contract."""
    texts = {"title": field.title, "description": field.description, "unit": field.unit}
    about = {name: text for name, text in texts.items() if text is not None}
    return pa.field(field.name, TYPES[field.type].export_type(field), metadata={**about, **type_metadata(field)})


FORMATS: dict[str, Callable[[Contract, Sequence[str]], Format]] = {
    "csv": CsvFormat,
    "ndjson": NdjsonFormat,
    "parquet": ParquetFormat,
    "arrow": ArrowFormat,
}
MEDIA_TYPES = {
    "csv": CsvFormat.media_type,
    "ndjson": NdjsonFormat.media_type,
    "parquet": ParquetFormat.media_type,
    "arrow": ArrowFormat.media_type,
}
