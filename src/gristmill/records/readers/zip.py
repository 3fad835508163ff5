"""A zip of one metadata file and images: fields of images name members, and each record gets the bytes.

The metadata is read by the reader of its format, with paths where images are stored, so that whatever is wrong with it
is refused as in a body of that format. One image is in memory at a time, and the records of a few MiB.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.core.errors import MAX_LISTED, Invalid, Violation
from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.types.image import is_path, mistake_in, most_bytes
from gristmill.kit.json_pointer import escape_pointer
from gristmill.records.readers.archive import Archive, BadMember
from gristmill.records.readers.columnar import PIECE_BYTES
from gristmill.records.readers.context import ReadContext, Reader, RecordBlock, refuse
from gristmill.records.readers.csv import read_csv
from gristmill.records.readers.dialect import refuse_parameters
from gristmill.records.readers.json import read_json
from gristmill.records.readers.ndjson import read_ndjson
from gristmill.records.readers.parquet import read_parquet
from gristmill.records.readers.places import find_rows, has_lines
from gristmill.records.validation.columns import show_row
from gristmill.records.validation.rows import RecordValidator

ZIP = "application/zip"
# What the metadata file may be, by the end of its name.
METADATA: dict[str, Reader] = {
    "csv": read_csv,
    "ndjson": read_ndjson,
    "jsonl": read_ndjson,
    "json": read_json,
    "parquet": read_parquet,
}
# So many refused records wait for the metadata to be read again, for their lines and texts.
_WAITING = 5000


def read_zip(source: ReadContext) -> Iterator[RecordBlock]:
    """Yield the records of a zip. Raises Malformed, Invalid, TooLarge for what is refused as a whole."""
    fields = _image_fields(source)
    assert source.archives is not None
    archive = Archive(source.file, source.archives)
    name, extension = archive.metadata(METADATA)
    reader = METADATA[extension]
    if reader is not read_csv:
        refuse_parameters(source.dialect.changed, f"the file {shorten(name)} of the zip")
    with closing(archive.unpack(name)) as metadata:
        inner = replace(source, file=metadata.file, validator=_by_path(source.validator, fields))
        images = _Images(inner, reader, archive, fields)
        for block in reader(inner):
            yield from images.fill(block)
        images.refuse_waiting()


def _image_fields(source: ReadContext) -> dict[str, FieldSpec]:
    images = {name: field for name, field in source.validator.fields.items() if field.type == "image"}
    stored = {name: field for name, field in images.items() if not is_path(field)}
    if stored:
        return stored
    every = source.validator.contract.columns
    paths = [field.name for field in every if field.type == "image" and is_path(field)]
    reason = "A zip is for datasets that store images, and no field of this one takes any"
    if paths:
        how = "put the files into the image folder, and send the metadata alone"
        reason = f"A zip is for images that are stored, and {', '.join(paths)} has paths below the image folder: {how}"
    raise Invalid(f"{reason}; nothing was stored", [Violation("", "no_stored_images", reason)])


def _by_path(validator: RecordValidator, images: dict[str, FieldSpec]) -> RecordValidator:
    """Return the validator of what the metadata says: the same records, with safe paths in place of images."""
    change = {"stored_as": "path", "max_bytes": None}
    columns = [
        field.model_copy(update=change) if field.name in images else field for field in validator.fields.values()
    ]
    contract = validator.contract
    return RecordValidator(contract, columns, contract.computed_fields, validator.partial, validator.unknown)


class _Images:
    """Puts the members of the archive in place of their names. source: that of the metadata."""

    def __init__(self, source: ReadContext, reader: Reader, archive: Archive, fields: dict[str, FieldSpec]) -> None:
        self._source, self._reader = source, reader
        self._archive, self._fields = archive, fields
        self._waiting: dict[int, list[Violation]] = {}

    def fill(self, block: RecordBlock) -> Iterator[RecordBlock]:
        """Yield the records of a block with their images, in steps of a few MiB; refuse those that have none."""
        names = {name: block.table.column(name).to_pylist() for name in self._fields}
        rows: list[int] = []
        found: dict[str, list[bytes | None]] = {name: [] for name in names}
        size = 0
        for row, record in enumerate(block.ords.tolist()):
            images, mistakes = self._read(record, {name: paths[row] for name, paths in names.items()})
            if mistakes:
                self._refuse(record, mistakes, block.table, row)
                continue
            if self._source.problems.total or (self._waiting and self._source.rejects is None):
                continue
            rows.append(row)
            for name, image in images.items():
                found[name].append(image)
                size += len(image or b"")
            if size >= PIECE_BYTES:
                yield _filled(block, rows, found)
                rows, found, size = [], {name: [] for name in names}, 0
        if self._source.rejects is None:
            self.refuse_waiting()
        if rows and not self._source.problems.total:
            yield _filled(block, rows, found)

    def refuse_waiting(self) -> None:
        """Refuse the records that wait, with their lines and texts."""
        file, waiting = self._source.file, self._waiting
        self._waiting = {}
        # The reader goes on from here.
        place = file.tell()
        for record, line, raw in find_rows(self._reader, file, set(waiting), self._source.dialect):
            mistakes = [replace(mistake, line=line) for mistake in waiting[record]]
            refuse(self._source, record, line, raw, mistakes)
        file.seek(place)

    def _read(self, record: int, names: dict[str, str | None]) -> tuple[dict[str, bytes | None], list[Violation]]:
        images: dict[str, bytes | None] = {}
        mistakes = []
        for field, name in names.items():
            try:
                images[field] = None if name is None else self._image(self._fields[field], name)
            except BadMember as error:
                pointer = f"/{record}/{escape_pointer(field)}"
                mistakes.append(Violation(pointer, error.code, error.reason, record, None, field))
        return images, mistakes

    def _image(self, field: FieldSpec, name: str) -> bytes:
        data = self._archive.read(name, most_bytes(field))
        mistake = mistake_in(field, data)
        if mistake is not None:
            raise BadMember(mistake[0], f"The member {name} {mistake[1]}")
        return data

    def _refuse(self, record: int, mistakes: list[Violation], table: pa.Table, row: int) -> None:
        problems = self._source.problems
        if self._source.rejects is None and len(problems.violations) >= MAX_LISTED:
            # No more are listed: they are counted.
            problems.add(*mistakes)
        elif has_lines(self._reader):
            self._waiting[record] = mistakes
            if len(self._waiting) >= _WAITING:
                self.refuse_waiting()
        else:
            refuse(self._source, record, None, show_row(self._source.validator, table, row), mistakes)


def _filled(block: RecordBlock, rows: list[int], images: dict[str, list[Any]]) -> RecordBlock:
    table = block.table.take(pa.array(rows, pa.int64()))
    for name, values in images.items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values, pa.binary()))
    return RecordBlock(table, block.ords[np.array(rows, np.int64)])
