"""Workbooks of Excel for tests: of rows, and with parts that openpyxl does not write."""

import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import openpyxl

from gristmill.client._workbooks import read_as_csv


def workbook(*rows: Sequence[Any], sheets: Mapping[str, Iterable[Sequence[Any]]] | None = None) -> bytes:
    """Return a workbook with a sheet ``Sheet`` of these rows, or with several sheets."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, content in (sheets or {"Sheet": rows}).items():
        sheet = book.create_sheet(name)
        for row in content:
            sheet.append(row)
    return saved(book)


def saved(book: openpyxl.Workbook) -> bytes:
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


def changed(content: bytes, part: str, old: bytes, new: bytes) -> bytes:
    """Return the workbook with another text in one of its parts."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(target, "w") as made:
        for name in source.namelist():
            data = source.read(name)
            if name == part:
                assert old in data
                data = data.replace(old, new)
            made.writestr(name, data)
    return target.getvalue()


def csv_of(content: bytes, sheet: str | None = None) -> str:
    """Return what the client makes of a workbook."""
    return b"".join(read_as_csv(io.BytesIO(content), sheet)).decode()


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
