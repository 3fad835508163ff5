"""Reads samples: with the readers of records, under contracts that take whatever the format can hold."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, BinaryIO

import pyarrow as pa
from pydantic_core import from_json, to_json

from gristmill.core.errors import Invalid, Malformed, Violation
from gristmill.core.http.bodies import CSV
from gristmill.datasets.contract import EXTRA_COLUMN, EXTRA_FIELD, Contract, FieldSpec
from gristmill.datasets.types.text import MAX_LENGTH
from gristmill.records.infer.columnar import MEDIA_TYPES as COLUMNAR
from gristmill.records.infer.columnar import declare
from gristmill.records.infer.dialects import choose_marks, sniff
from gristmill.records.infer.parts import UpToLastLine, newline_of
from gristmill.records.infer.sample import (
    BOOLEAN,
    CELL,
    INTEGER,
    MAX_BYTES,
    MAX_RECORDS,
    NESTED,
    NUMBER,
    STRING,
    Sample,
    SampledColumn,
    check_count,
)
from gristmill.records.readers import open_reader
from gristmill.records.readers.context import ReadContext, RecordBlock, skip_bom
from gristmill.records.readers.csv_rows import read_rows
from gristmill.records.readers.csv_syntax import syntax_of
from gristmill.records.readers.dialect import DEFAULT, CsvDialect
from gristmill.records.readers.transcode import as_utf8
from gristmill.records.reject import Reject
from gristmill.records.validation.rows import Problems, RecordValidator

_LISTED = 20
_ALL_MEMBERS = Contract(name="sample", fields=(EXTRA_FIELD,), unknown_fields="collect")


def read_sample(file: BinaryIO, media_type: str, partial: bool, answers: Mapping[str, Any]) -> Sample:
    """Return what ``file`` begins with. partial: it is the first part of one, and may end within a record.

    answers: to questions about how a file is written.

    Raises Malformed and Invalid for what no contract could make readable.
    """
    if not file.seek(0, 2):
        raise Invalid("The body is empty", [Violation("", "empty", "The body is empty: there is nothing to look at")])
    if media_type == CSV:
        return _read_cells(file, partial, answers)
    if media_type in COLUMNAR:
        return _read_columns(file, media_type, partial)
    return _read_members(file, media_type, partial)


def _read_cells(file: BinaryIO, partial: bool, answers: Mapping[str, Any]) -> Sample:
    dialect, asked = sniff(file, answers, partial)
    text = as_utf8(file, dialect.encoding)
    skip_bom(text)
    header = next(read_rows(text, syntax_of(dialect)), None)
    if header is None:
        raise Invalid("The body is empty", [Violation("", "empty", "The body is empty: there is no header row")])
    if header.cells is None:
        reason = f"line {header.line}: {header.broken}"
        raise Malformed(reason, [Violation("", header.code, header.broken, line=header.line)])
    names = [cell or "" for cell in header.cells]
    check_count(names)
    fields = tuple(FieldSpec(name=name, type="text", max_length=MAX_LENGTH) for name in dict.fromkeys(names))
    part = UpToLastLine(file, newline_of(file, dialect.encoding)) if partial else file
    source = _Source(part, Contract(name="sample", fields=fields), CSV, partial, dialect)
    tables = [block.table for block in source.blocks()]
    table = pa.concat_tables(tables) if tables else source.validator.to_table([])
    columns = [
        SampledColumn(name, table[name], Counter({CELL: table.num_rows - table[name].null_count})) for name in names
    ]
    marked, about_points = choose_marks(dialect, columns, answers.get("points"))
    questions = tuple(one for one in (asked, about_points) if one is not None)
    return replace(source.sample(columns, table.num_rows), dialect=marked, questions=questions)


def _read_members(file: BinaryIO, media_type: str, partial: bool) -> Sample:
    lines = "ndjson" in media_type or "jsonl" in media_type
    source = _Source(UpToLastLine(file, b"\n") if partial and lines else file, _ALL_MEMBERS, media_type, partial)
    members = _Members()
    for block in source.blocks():
        members.add([{} if one is None else from_json(one) for one in block.table[EXTRA_COLUMN].to_pylist()])
        if members.bytes >= MAX_BYTES:
            # A record with one of many members has a place in the columns of all others.
            source.stop()
            break
    return source.sample(members.columns(), members.records)


def _read_columns(file: BinaryIO, media_type: str, partial: bool) -> Sample:
    declared = declare(file, media_type, partial)
    if declared.schema_only or not declared.fields:
        columns = [SampledColumn(name, None, Counter(), body) for name, body in declared.fields.items()]
        size = file.seek(0, 2)
        return Sample(columns, 0, size, False, left_out=declared.left_out)
    fields = tuple(FieldSpec(**{**body, "name": name}) for name, body in declared.fields.items())
    contract = Contract(name="sample", fields=fields, unknown_fields="ignore")
    source = _Source(declared.file, contract, media_type, partial)
    tables = [block.table for block in source.blocks()]
    table = pa.concat_tables(tables) if tables else source.validator.to_table([])
    columns = [SampledColumn(name, table[name], Counter(), body) for name, body in declared.fields.items()]
    return source.sample(columns, table.num_rows, declared.left_out)


class _Enough(Exception):
    """So many records cannot be read that nothing more is to be learnt."""


class _Rejects:
    """What is kept of records that cannot be read: the first mistakes, their number, and which was the last."""

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.count, self.last = 0, -1

    def add(self, reject: Reject) -> None:
        self.count, self.last = self.count + 1, reject.record
        if len(self.violations) < _LISTED:
            self.violations += reject.violations[:1]
        if self.count >= MAX_RECORDS:
            raise _Enough


class _Source:
    """A body that is read until the sample is large enough. What cannot be read is counted, and its records go on."""

    def __init__(
        self,
        file: BinaryIO | UpToLastLine,
        contract: Contract,
        media_type: str,
        partial: bool,
        dialect: CsvDialect = DEFAULT,
    ) -> None:
        self.validator = RecordValidator(contract, unknown=contract.unknown_fields)
        self._media_type = media_type
        self._size = file.seek(0, 2)
        self._file: Any = file
        self._dialect = dialect
        self._rejects = _Rejects()
        self._partial = partial
        self._cut = partial

    def blocks(self) -> Iterator[RecordBlock]:
        context = ReadContext(self._file, self.validator, Problems(), rejects=self._rejects.add, dialect=self._dialect)
        records = size = 0
        self._file.seek(0)
        try:
            for block in open_reader(self._media_type)(context):
                room = MAX_RECORDS - records
                taken = block if block.table.num_rows <= room else block.slice(0, room)
                records += taken.table.num_rows
                size += taken.table.nbytes
                yield taken
                if taken is not block or size >= MAX_BYTES:
                    self._cut = True
                    return
            context.problems.raise_if_any()
        except _Enough:
            self._cut = True
        except Malformed:
            # The end of a part may stand anywhere.
            if not (self._partial and records):
                raise

    def stop(self) -> None:
        """Say that not all was read."""
        self._cut = True

    def sample(self, columns: list[SampledColumn], records: int, left_out: dict[str, str] | None = None) -> Sample:
        rejected, violations = self._rejects.count, self._rejects.violations
        if self._partial and rejected and self._rejects.last >= records + rejected - 1:
            # The last record was cut.
            rejected, violations = rejected - 1, violations[: rejected - 1]
        return Sample(columns, records, self._size, not self._cut, rejected, violations, left_out or {})


class _Members:
    """The members of JSON records as columns of texts, some records at a time."""

    def __init__(self) -> None:
        self.records = self.bytes = 0
        self._parts: dict[str, list[pa.Array]] = {}
        self._kinds: dict[str, Counter[str]] = {}

    def add(self, records: list[dict[str, Any]]) -> None:
        names = dict.fromkeys(name for record in records for name in record)
        for name in names:
            if name not in self._parts:
                self._parts[name], self._kinds[name] = [], Counter()
                self._append(name, pa.nulls(self.records, pa.string()))
        check_count(list(self._parts))
        for name in self._parts:
            if name not in names:
                self._append(name, pa.nulls(len(records), pa.string()))
                continue
            told = [_tell(record.get(name)) for record in records]
            self._append(name, pa.array([text for _, text in told], pa.string()))
            self._kinds[name].update(kind for kind, _ in told if kind is not None)
        self.records += len(records)

    def _append(self, name: str, part: pa.Array) -> None:
        self._parts[name].append(part)
        self.bytes += part.nbytes

    def columns(self) -> list[SampledColumn]:
        return [
            SampledColumn(name, pa.chunked_array(parts, pa.string()), self._kinds[name])
            for name, parts in self._parts.items()
        ]


def _tell(value: Any) -> tuple[str | None, str | None]:
    """Return the kind of a JSON value, and its text: a string is its own."""
    if value is None:
        return None, None
    if isinstance(value, str):
        return STRING, value
    if isinstance(value, bool):
        return BOOLEAN, "true" if value else "false"
    if isinstance(value, int):
        return INTEGER, json.dumps(value)
    if isinstance(value, float):
        return NUMBER, json.dumps(value)
    return NESTED, to_json(value).decode()
