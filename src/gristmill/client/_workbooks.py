"""Workbooks of Excel, as the CSV that the server reads: a sheet is a table, its first row the header."""

import csv
import datetime as dt
import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import IO, Any
from xml.etree import ElementTree as XML

from gristmill.client._json import duration_text
from gristmill.client._workbook_cells import left_out_cells, name_of
from gristmill.client.errors import InvalidArgument

# Bytes of a workbook once it is unpacked: the sheet is read as a whole.
_MOST_BYTES = 2 * 1024**3
_EXACT = 2**53
_OLD = b"\xd0\xcf\x11\xe0"
_LISTED = 5
# What the parts of a damaged workbook raise.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    XML.ParseError,
    EOFError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


def read_as_csv(file: IO[bytes], sheet: str | None = None) -> Iterator[bytes]:
    """Yield the rows of a sheet as rows of CSV; rows without any value are left out.

    sheet: its name; None where one sheet alone has values. Formulas are what the workbook keeps as their values, errors
    such as #N/A texts. Raises InvalidArgument for what is no workbook or no table.
    """
    calamine = _import()
    _check_file(file)
    file.seek(0)
    try:
        with calamine.load_workbook(file) as workbook:
            found = _chosen(calamine, workbook, sheet)
            left_out = left_out_cells(file, found.name)
            _check_merged(found)
            yield from _rows(found, left_out)
    except InvalidArgument:
        raise
    except (calamine.CalamineError, *_DAMAGED) as error:
        raise InvalidArgument(f"the file is no workbook that can be read: {error}") from error


def _import() -> Any:
    try:
        import python_calamine  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise InvalidArgument("workbooks need python-calamine: pip install 'gristmill[excel]'") from error
    return python_calamine


def _check_file(file: IO[bytes]) -> None:
    file.seek(0)
    if file.read(len(_OLD)) == _OLD:
        raise InvalidArgument(
            "the workbook is protected by a password, or of Excel before 2007: save it as .xlsx without a password"
        )
    file.seek(0)
    try:
        with zipfile.ZipFile(file) as parts:
            size = sum(part.file_size for part in parts.infolist())
    except (zipfile.BadZipFile, OSError) as error:
        raise InvalidArgument(f"the file is no workbook of Excel (.xlsx, .xlsm): {error}") from error
    if size > _MOST_BYTES:
        raise InvalidArgument(
            f"the workbook has {size:,} bytes unpacked, at most {_MOST_BYTES:,} are read: save as CSV"
        )


def _chosen(calamine: Any, workbook: Any, sheet: str | None) -> Any:
    """Return the sheet of that name, or the one that has values."""
    kind = calamine.SheetTypeEnum.WorkSheet
    names = [one.name for one in workbook.sheets_metadata if one.typ == kind]
    if sheet is not None:
        if sheet not in names:
            raise InvalidArgument(f"there is no sheet {sheet!r}; the sheets are: {', '.join(map(repr, names))}")
        return workbook.get_sheet_by_name(sheet)
    seen = calamine.SheetVisibleEnum.Visible
    shown = [one.name for one in workbook.sheets_metadata if one.typ == kind and one.visible == seen]
    found = [one for one in map(workbook.get_sheet_by_name, shown) if one.start is not None]
    if not found:
        raise InvalidArgument(f"no sheet has a value; the sheets are: {', '.join(map(repr, names)) or 'none'}")
    if len(found) > 1:
        listed = ", ".join(repr(one.name) for one in found)
        raise InvalidArgument(f"{len(found)} sheets have values: {listed}; say which one: sheet={found[0].name!r}")
    return found[0]


def _check_merged(sheet: Any) -> None:
    ranges = sheet.merged_cell_ranges or []
    if ranges:
        listed = ", ".join(f"{name_of(*first)}:{name_of(*last)}" for first, last in ranges[:_LISTED])
        more = f" and {len(ranges) - _LISTED} more" if len(ranges) > _LISTED else ""
        raise InvalidArgument(
            f"cells of {sheet.name!r} are merged: {listed}{more}. A table has a cell for each value: unmerge them, and"
            " delete titles above the header"
        )


def _rows(sheet: Any, left_out: dict[tuple[int, int], str]) -> Iterator[bytes]:
    first_row = None
    left = sheet.start[1] if sheet.start else 0
    timed = _timed_columns(sheet)
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    columns: list[int] = []
    for number, values in enumerate(sheet.iter_rows()):
        cells = [
            left_out.get((number, left + place)) or _text(value, place in timed) for place, value in enumerate(values)
        ]
        if not any(cells):
            continue
        if first_row is None:
            first_row, columns = number, _header(sheet, cells, number, left)
        unnamed = next((place for place, cell in enumerate(cells) if cell and place not in columns), None)
        if unnamed is not None:
            header = name_of(first_row, left + unnamed)
            raise InvalidArgument(
                f"{name_of(number, left + unnamed)} of {sheet.name!r} has a value, and the header {header} is empty"
            )
        writer.writerow([cells[place] for place in columns])
        yield target.getvalue().encode()
        target.seek(0)
        target.truncate()


def _header(sheet: Any, cells: Sequence[str], number: int, left: int) -> list[int]:
    """Return the places of the columns. Raises InvalidArgument for two of one name."""
    columns = [place for place, cell in enumerate(cells) if cell]
    seen: dict[str, int] = {}
    for place in columns:
        other = seen.setdefault(cells[place], place)
        if other != place:
            first, second = name_of(number, left + other), name_of(number, left + place)
            raise InvalidArgument(
                f"{first} and {second} of {sheet.name!r} are both {cells[place]!r}: rename one header"
            )
    return columns


def _timed_columns(sheet: Any) -> set[int]:
    """Return the places of columns with times of day: a date in one is midnight."""
    return {place for row in sheet.iter_rows() for place, value in enumerate(row) if isinstance(value, dt.datetime)}


def _text(value: Any, timed: bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        # Excel has no integers: a whole number is written as one, as far as a double holds all of them.
        return str(int(value)) if value.is_integer() and abs(value) < _EXACT else repr(value)
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime) and timed:
        return f"{value.isoformat()}T00:00:00"
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return duration_text(value)
    return str(value)
