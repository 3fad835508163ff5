"""How rejects are shown: as JSON objects, as lines of NDJSON, as rows of a CSV that can be corrected and sent back."""

import base64
import json
from collections.abc import Mapping, Sequence

from gristmill.datasets.contract import FieldSpec
from gristmill.records.readers.csv_syntax import PLAIN, CsvSyntax
from gristmill.records.reject import NOTE_COLUMNS
from gristmill.records.rejects.cells import REFUSED, Unknown, csv_cells, csv_line, csv_values, json_values
from gristmill.records.rejects.repository import StoredReject


def reject_json(reject: StoredReject, columns: Sequence[str] | None, syntax: CsvSyntax = PLAIN) -> bytes:
    """Return a reject as a JSON object on one line.

    ``raw`` is the record as it was sent: text, or base64 where it is no UTF-8, as ``raw_encoding`` says. ``values`` is
    the record as an object (of a CSV row the cells by their columns), or null where it cannot be read as one.
    columns: the header of the body if it was CSV. syntax: of such a body.
    """
    try:
        raw, encoding = reject.raw.decode(), "utf-8"
    except UnicodeDecodeError:
        raw, encoding = base64.b64encode(reject.raw).decode(), "base64"
    if columns is None:
        values = json_values(reject.raw)
    else:
        cells = csv_values(reject.raw, columns, syntax)
        values = None if cells is None else _dump(cells)
    members = {
        "record": _dump(reject.record),
        "line": _dump(reject.line),
        "errors": _dump(reject.errors),
        "errors_total": _dump(reject.errors_total),
        "raw": _dump(raw),
        "raw_encoding": _dump(encoding),
        "values": values or b"null",
    }
    return b"{" + b",".join(b'"%s":%s' % (name.encode(), text) for name, text in members.items()) + b"}"


def csv_header(fields: Mapping[str, FieldSpec]) -> bytes:
    """Return the first line of the CSV: the fields, then the notes."""
    return csv_line([*fields, *NOTE_COLUMNS])


def reject_csv(
    reject: StoredReject,
    columns: Sequence[str] | None,
    fields: Mapping[str, FieldSpec],
    others: Unknown = REFUSED,
    syntax: CsvSyntax = PLAIN,
) -> bytes:
    """Return a reject as a row of CSV in the default dialect.

    columns: the header of the body if it was CSV. others, syntax: as of ``csv_cells``.
    """
    cells, rest = csv_cells(reject.raw, columns, fields, others, syntax)
    line = None if reject.line is None else str(reject.line)
    return csv_line([*cells, str(reject.record), line, "; ".join(map(_error, reject.errors)), rest])


def _error(place: Mapping[str, object]) -> str:
    field, reason = place.get("field"), str(place.get("reason"))
    return reason if field is None else f"{field}: {reason}"


def _dump(value: object) -> bytes:
    # ASCII: whatever was sent, half of a surrogate pair too, can be written.
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()
