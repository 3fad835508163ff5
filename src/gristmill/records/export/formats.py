"""The formats of an export: what COPY is asked for, and what becomes of each page that it gives."""

import binascii
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import sqlalchemy as sa

from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.contract import EMBEDDING_COLUMN, Contract
from gristmill.datasets.types import TYPES
from gristmill.records.columns import vector_column
from gristmill.records.export import text as export_text

# A row group is written when it has so many rows or bytes: large enough to compress, small enough to hold in memory.
GROUP_ROWS = 65_536
GROUP_BYTES = 8 * 1024 * 1024


class Format:
    """One export in one format; used for one export only. The bytes of head, pages and tail in a row are the file."""

    media_type: str
    suffix: str

    def __init__(self, contract: Contract, names: Sequence[str]) -> None:
        self._contract = contract
        self._names = list(names)

    def shown(self, table: sa.Table) -> list[Any]:
        """Return the columns that a page selects."""
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
        if len(names) == 1 and (names[0] == EMBEDDING_COLUMN or not contract.field(names[0]).required):
            reason = f"In CSV of {names[0]} alone a null would be an empty line, which readers skip: choose ndjson"
            raise Invalid(reason, [Violation("/query/format", "ambiguous", reason, field="format")])

    def shown(self, table: sa.Table) -> list[Any]:
        return export_text.csv_cells(self._contract, self._names, table)

    def head(self) -> bytes:
        # Names of fields never need quotes.
        return (",".join(self._names) + "\n").encode()


class NdjsonFormat(Format):
    """One JSON object a line."""

    media_type = "application/x-ndjson"
    suffix = "ndjson"

    def shown(self, table: sa.Table) -> list[Any]:
        return export_text.json_members(self._contract, self._names, table)

    def copy(self, query: str) -> str:
        return f"COPY (SELECT row_to_json(r) FROM ({query}) AS r) TO STDOUT"  # noqa: S608 - made by SQLAlchemy

    def page(self, copied: bytes) -> bytes:
        # COPY doubles backslashes; nothing else that it escapes stands in JSON on one line.
        return copied.replace(b"\\\\", b"\\")


class ParquetFormat(Format):
    """Typed columns: decimals, UUIDs and JSON as text, vectors as fixed-size lists of float32, images as binary."""

    media_type = "application/vnd.apache.parquet"
    suffix = "parquet"

    def __init__(self, contract: Contract, names: Sequence[str]) -> None:
        super().__init__(contract, names)
        self._schema = pa.schema([pa.field(name, self._column_type(name)) for name in names])
        self._read_types = {name: self._read_type(name) for name in names}
        self._file = _Drain()
        self._pending: list[pa.Table] = []
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

    def shown(self, table: sa.Table) -> list[Any]:
        return export_text.arrow_cells(self._contract, self._names, table)

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

    def _flush(self) -> None:
        if self._pending:
            table = pa.concat_tables(self._pending)
            self._pending.clear()
            self._writer.write_table(table, row_group_size=table.num_rows)

    def _parse(self, copied: bytes) -> pa.Table:
        read = pyarrow.csv.ReadOptions(column_names=self._names, block_size=len(copied) + 1, use_threads=False)
        parse = pyarrow.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)
        convert = pyarrow.csv.ConvertOptions(
            column_types=self._read_types,
            null_values=[""],
            true_values=["true"],
            false_values=["false"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        )
        found = pyarrow.csv.read_csv(io.BytesIO(copied), read, parse, convert)
        return pa.Table.from_arrays(
            [self._finish(name, found.column(name)) for name in self._names], schema=self._schema
        )

    def _finish(self, name: str, column: pa.ChunkedArray) -> Any:
        kind = self._schema.field(name).type
        if pa.types.is_fixed_size_list(kind):
            return _vectors(column, kind.list_size)
        if pa.types.is_binary(kind):
            return pa.array([None if text is None else bytes.fromhex(text) for text in column.to_pylist()], kind)
        return column

    def _column_type(self, name: str) -> pa.DataType:
        if name == EMBEDDING_COLUMN:
            return pa.list_(pa.float32(), self._contract.vector_dimensions or 0)
        field = self._contract.field(name)
        # A UUID is sixteen bytes in payloads; as text every tool shows it.
        return pa.string() if field.type == "uuid" else TYPES[field.type].arrow(field)

    def _read_type(self, name: str) -> pa.DataType:
        kind = self._schema.field(name).type
        return pa.string() if pa.types.is_fixed_size_list(kind) or pa.types.is_binary(kind) else kind


def _vectors(column: pa.ChunkedArray, dimensions: int) -> pa.Array:
    """Return a column of vector_send's bytes in hexadecimal as vectors."""
    texts = pa.concat_arrays(column.chunks)
    null = np.asarray(texts.is_null())
    offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
    numbers = np.full((len(texts), dimensions), np.nan, np.float32)
    if not null.all():
        data = binascii.unhexlify(memoryview(texts.buffers()[2])[offsets[0] : offsets[-1]])
        sent = np.frombuffer(data, np.uint8).reshape(-1, 4 + 4 * dimensions)[:, 4:]
        numbers[~null] = np.ascontiguousarray(sent).view(">f4").astype(np.float32)
    return vector_column(numbers, dimensions)


class _Drain(io.RawIOBase):
    """A file that is only written to, and emptied now and then."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def drain(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


FORMATS: dict[str, Callable[[Contract, Sequence[str]], Format]] = {
    "csv": CsvFormat,
    "ndjson": NdjsonFormat,
    "parquet": ParquetFormat,
}
