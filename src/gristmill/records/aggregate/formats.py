"""The formats of an answer: what Postgres is asked to write, and what becomes of it on its way to the client."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from typing import IO

import pyarrow as pa
import pyarrow.csv
import sqlalchemy as sa

from gristmill.core.errors import Invalid, Violation
from gristmill.core.http.bodies import ARROW, CSV, JSON
from gristmill.datasets.types import TYPES, FieldType
from gristmill.kit.drain import Drain
from gristmill.kit.identifiers import quote
from gristmill.records.aggregate.relation import Column
from gristmill.records.arrow_rows import type_metadata

PIECE_BYTES = 256 * 1024
# The longest row that is read back from the text; a record has at most 8 MiB.
LONGEST_ROW = 32 * 1024 * 1024
# Bytes of a name in Postgres; members of an object, of two arguments each, in a call, which has up to a hundred.
_NAME_BYTES, _MEMBERS = 63, 45
# Characters that JSON never has as they are: nothing is quoted, and a line is what row_to_json makes.
_LINES = "(FORMAT csv, DELIMITER E'\\x02', QUOTE E'\\x01')"

Expression = sa.ColumnElement[object]


class Format:
    """One answer in one format. zone: of the edges of buckets."""

    media_type: str
    suffix: str
    text_edges = True

    def __init__(self, columns: Sequence[Column], zone: str) -> None:
        self.columns = columns
        self.zone = zone

    def expression(self, kind: FieldType, column: Expression) -> Expression:
        """Return what Postgres writes of a column."""
        raise NotImplementedError

    def copy(self, written: Sequence[str], source: Callable[[str], str]) -> str:
        """Return the COPY. written: SQL of the columns. source: makes a query of a list of columns."""
        listed = ", ".join(f"{one} AS c{index}" for index, one in enumerate(written))
        return f"COPY ({source(listed)}) TO STDOUT (FORMAT csv)"

    def pieces(self, file: IO[bytes], size: int) -> Iterator[bytes]:
        """Yield the answer, made of what COPY gave."""
        while piece := file.read(PIECE_BYTES):
            yield piece


class NdjsonFormat(Format):
    """One JSON object a line."""

    media_type = "application/x-ndjson"
    suffix = "ndjson"

    def expression(self, kind: FieldType, column: Expression) -> Expression:
        return kind.json_member(column)

    def copy(self, written: Sequence[str], source: Callable[[str], str]) -> str:
        names = [column.name for column in self.columns]
        if all(1 <= len(name.encode()) <= _NAME_BYTES for name in names):
            listed = ", ".join(f"{one} AS {quote(name)}" for one, name in zip(written, names, strict=True))
            return f"COPY (SELECT row_to_json(o) FROM ({source(listed)}) AS o) TO STDOUT {_LINES}"
        # Values of a pivot may be longer than a name of Postgres can be, or empty.
        members = []
        for index, (one, name) in enumerate(zip(written, names, strict=True)):
            text = ("," if index else "") + json.dumps(name, ensure_ascii=False) + ":"
            members.append(f"{_quoted(text)}, coalesce(to_json({one})::text, 'null')")
        parts = [f"concat({', '.join(members[at : at + _MEMBERS])})" for at in range(0, len(members), _MEMBERS)]
        whole = f"concat('{{', {', '.join(parts)}, '}}')"
        return f"COPY ({source(whole)}) TO STDOUT {_LINES}"


class JsonFormat(NdjsonFormat):
    """One object: the columns with their types, and the rows as objects."""

    media_type = JSON
    suffix = "json"

    def pieces(self, file: IO[bytes], size: int) -> Iterator[bytes]:
        columns = [{"name": column.name, "type": column.field.type} for column in self.columns]
        yield b'{"columns":' + json.dumps(columns, ensure_ascii=False, separators=(",", ":")).encode() + b',"rows":['
        left = size
        while piece := file.read(PIECE_BYTES):
            left -= len(piece)
            # Line ends stand between rows and nowhere else; behind the last one nothing follows.
            yield (piece if left else piece[:-1]).replace(b"\n", b",\n")
        yield b"]}"


class CsvFormat(Format):
    """RFC 4180 with a header row; null is an empty cell, empty text is ``""``."""

    media_type = "text/csv; charset=utf-8; header=present"
    suffix = "csv"

    def __init__(self, columns: Sequence[Column], zone: str) -> None:
        super().__init__(columns, zone)
        if len(columns) == 1 and not columns[0].field.required:
            reason = f"In CSV of {columns[0].name} alone a null would be an empty line, which readers skip: choose JSON"
            raise Invalid(reason, [Violation("/query/format", "ambiguous", reason, field="format")])

    def expression(self, kind: FieldType, column: Expression) -> Expression:
        return kind.csv_cell(column)

    def pieces(self, file: IO[bytes], size: int) -> Iterator[bytes]:
        head = io.StringIO()
        csv.writer(head, lineterminator="\n").writerow([column.name for column in self.columns])
        yield head.getvalue().encode()
        yield from super().pieces(file, size)


class ArrowFormat(Format):
    """An Arrow IPC stream: typed columns, as in exports as Parquet."""

    media_type = ARROW
    suffix = "arrows"
    text_edges = False

    def expression(self, kind: FieldType, column: Expression) -> Expression:
        return kind.arrow_cell(column)

    def pieces(self, file: IO[bytes], size: int) -> Iterator[bytes]:
        schema = pa.schema([self._field(column) for column in self.columns])
        drain = Drain()
        with pa.ipc.new_stream(drain, schema) as writer:
            yield drain.drain()
            for batch in self._batches(file, size) if size else ():
                arrays = [
                    self._array(column, batch.column(index), schema.field(index).type)
                    for index, column in enumerate(self.columns)
                ]
                writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
                yield drain.drain()
        yield drain.drain()

    def _batches(self, file: IO[bytes], size: int) -> Iterator[pa.Table]:
        names = [f"c{index}" for index in range(len(self.columns))]
        kinds = [TYPES[column.field.type].read_type(column.field) for column in self.columns]
        reader = pyarrow.csv.open_csv(
            file,
            pyarrow.csv.ReadOptions(column_names=names, block_size=min(size + 1, LONGEST_ROW), use_threads=False),
            pyarrow.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
            pyarrow.csv.ConvertOptions(
                column_types=dict(zip(names, kinds, strict=True)),
                null_values=[""],
                true_values=["true"],
                false_values=["false"],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        for batch in reader:
            yield pa.Table.from_batches([batch])

    def _field(self, column: Column) -> pa.Field:
        kind = TYPES[column.field.type].export_type(column.field)
        if column.edge and pa.types.is_timestamp(kind):
            kind = pa.timestamp("us", self.zone)
        return pa.field(column.name, kind, metadata=type_metadata(column.field))

    def _array(self, column: Column, found: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
        made = TYPES[column.field.type].finish(column.field, found)
        return made if made.type == kind else made.cast(kind)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"E'{escaped}'"


FORMATS: dict[str, type[Format]] = {
    "json": JsonFormat,
    "ndjson": NdjsonFormat,
    "csv": CsvFormat,
    "arrow": ArrowFormat,
}
# Formats by their media types, the one that is preferred first.
ACCEPTED = {
    JSON: "json",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    CSV: "csv",
    ARROW: "arrow",
}
