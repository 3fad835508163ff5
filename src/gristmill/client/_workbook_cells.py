"""Cells of a workbook that its reader leaves empty though they are not: errors, and formulas that nobody computed."""

import posixpath
import re
import zipfile
from typing import IO
from xml.etree import ElementTree as XML

from gristmill.client.errors import InvalidArgument

_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
# Workbooks that are saved as "strict" have names of their own.
_STRICT = "{http://purl.oclc.org/ooxml/spreadsheetml/main}"
_IDS = (
    "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id",
    "{http://purl.oclc.org/ooxml/officeDocument/relationships}id",
)
_WORKBOOK = "xl/workbook.xml"
_SUSPECT = re.compile(rb'<(?:\w+:)?f[ >/]|t="e"')
_PIECE = 1024 * 1024
_PLACE = re.compile(r"([A-Z]{1,3})(\d{1,7})")


def left_out_cells(file: IO[bytes], sheet: str) -> dict[tuple[int, int], str]:
    """Return the errors of a sheet, such as #N/A, by row and column from 0 on.

    Raises InvalidArgument for a formula without a value: whatever wrote the workbook has not computed it.
    """
    file.seek(0)
    with zipfile.ZipFile(file) as parts:
        name = _part_of(parts, sheet)
        if name is None or not _is_suspect(parts, name):
            return {}
        with parts.open(name) as part:
            return _cells(part, sheet)


def name_of(row: int, column: int) -> str:
    """Return what Excel calls a cell: (0, 27) is AB1."""
    letters = ""
    column += 1
    while column:
        column, rest = divmod(column - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return f"{letters}{row + 1}"


def _place_of(name: str) -> tuple[int, int] | None:
    found = _PLACE.fullmatch(name)
    if found is None:
        return None
    column = 0
    for letter in found[1]:
        column = column * 26 + ord(letter) - ord("A") + 1
    return int(found[2]) - 1, column - 1


def _part_of(parts: zipfile.ZipFile, sheet: str) -> str | None:
    """Return the name of the part that holds a sheet."""
    workbook = XML.fromstring(parts.read(_WORKBOOK))
    relations = XML.fromstring(parts.read("xl/_rels/workbook.xml.rels"))
    targets = {one.get("Id"): one.get("Target", "") for one in relations}
    for one in workbook.iter():
        if one.tag in (f"{_MAIN}sheet", f"{_STRICT}sheet") and one.get("name") == sheet:
            target = next((targets[one.get(name)] for name in _IDS if one.get(name) in targets), "")
            path = target.lstrip("/") if target.startswith("/") else posixpath.normpath(f"xl/{target}")
            return path if path in parts.namelist() else None
    return None


def _is_suspect(parts: zipfile.ZipFile, name: str) -> bool:
    """Say whether there is any formula or error: most sheets need no second look."""
    tail = b""
    with parts.open(name) as part:
        while piece := part.read(_PIECE):
            if _SUSPECT.search(tail + piece):
                return True
            tail = piece[-16:]
    return False


def _cells(part: IO[bytes], sheet: str) -> dict[tuple[int, int], str]:
    found: dict[tuple[int, int], str] = {}
    row = column = -1
    for event, element in XML.iterparse(part, ("start", "end")):
        tag = element.tag.rpartition("}")[2]
        if event == "start":
            if tag == "row":
                # Places may be left out: then each is the one after that before it.
                row, column = int(element.get("r", row + 2)) - 1, -1
            continue
        if tag == "row":
            element.clear()
        if tag != "c":
            continue
        place = _place_of(element.get("r", "")) or (row, column + 1)
        column = place[1]
        value = next((one.text for one in element if one.tag.endswith("}v")), None)
        if element.get("t") == "e":
            found[place] = value or "#N/A"
        elif not value and element.get("t") != "str" and any(one.tag.endswith("}f") for one in element):
            raise InvalidArgument(
                f"{name_of(*place)} of {sheet!r} is a formula that nothing has computed yet: open the workbook in a"
                " spreadsheet and save it"
            )
    return found
