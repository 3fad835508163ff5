"""What is accepted reads back equal: every type, nulls mixed in, through JSON, NDJSON and CSV, by REST both ways."""

import base64
import datetime as dt
import json
import struct
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.in_process import CSV, NDJSON, InProcess

_FIELDS = {
    "t": "text", "i": "integer", "f": "float", "d": "decimal", "b": "boolean", "ts": "timestamp", "da": "date",
    "u": "uuid", "j": "json", "v": "vector", "im": "image",
}  # fmt: skip
_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
# The numbers of jsonb have no negative zero; 0.0 is equal to it.
_json_floats = st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0)
_json = st.recursive(
    st.booleans() | st.integers(-(10**30), 10**30) | _json_floats | _text,
    lambda inner: st.lists(inner | st.none(), max_size=3) | st.dictionaries(_text, inner | st.none(), max_size=3),
    max_leaves=8,
)
_PNG = b"\x89PNG\r\n\x1a\n"


def _shown(value: dt.datetime) -> str:
    return value.isoformat() + "Z"


# Each value in the form in which it is read back.
_VALUES = {
    "t": _text,
    "i": st.integers(-(2**63), 2**63 - 1),
    "f": st.floats(allow_nan=False, allow_infinity=False),
    "d": st.decimals(allow_nan=False, allow_infinity=False, places=6, min_value=-(10**20), max_value=10**20).map(
        lambda value: format(abs(value) if value == 0 else value, "f")
    ),
    "b": st.booleans(),
    "ts": st.datetimes().map(_shown),
    "da": st.dates().map(str),
    "u": st.uuids().map(str),
    "j": _json,
    "v": st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=2),
    "im": st.binary(max_size=20).map(lambda data: base64.b64encode(_PNG + data).decode()),
}
_ROWS = st.lists(
    st.fixed_dictionaries({name: st.none() | kind for name, kind in _VALUES.items()}), min_size=1, max_size=6
)


def _cell(name: str, value: Any) -> str:
    """Return the CSV cell; everything that is not null is quoted."""
    if value is None:
        return ""
    if name in ("i", "f", "b"):
        return json.dumps(value)
    text = json.dumps(value, ensure_ascii=False) if name in ("j", "v") else value
    return '"' + text.replace('"', '""') + '"'


def _csv(rows: list[dict[str, Any]]) -> bytes:
    lines = ["n," + ",".join(_VALUES)]
    lines += [",".join([str(row["n"]), *(_cell(name, row[name]) for name in _VALUES)]) for row in rows]
    return "\r\n".join(lines).encode()


def _exact(rows: list[dict[str, Any]]) -> str:
    """Return the rows as text that tells 0.0 from -0.0 and 1 from 1.0; vectors as their float32 values."""
    return json.dumps(rows, sort_keys=True)


class TestReadsBackEqual:
    @pytest.mark.promise(9)
    @given(rows=_ROWS)
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    def test_all_types_through_all_formats(self, app: InProcess, rows: list[dict[str, Any]]) -> None:
        fields: list[dict[str, Any]] = [{"name": name, "type": kind} for name, kind in _FIELDS.items()]
        next(field for field in fields if field["name"] == "v")["dimensions"] = 2
        fields.insert(0, {"name": "n", "type": "integer", "required": True})
        name = app.dataset({"fields": fields, "key": ["n"]})
        expected = [{"n": n, **row} for n, row in enumerate(rows)]
        for body, headers in (
            (json.dumps(expected).encode(), {"content-type": "application/json"}),
            ("\n".join(map(json.dumps, expected)).encode(), NDJSON),
            (_csv(expected), CSV),
        ):
            job = app.job(app.post(name, body, headers=headers))
            assert job["state"] == "succeeded", job["error"]
            found = app.rows(name)
            for row in found:
                # The shortest text of a float32 is not that of the double; the value is what must be equal.
                row["v"] = None if row["v"] is None else [float.fromhex(_as_float32(number)) for number in row["v"]]
            assert _exact(found) == _exact(expected)


def _as_float32(number: float) -> str:
    return float(struct.unpack("f", struct.pack("f", number))[0]).hex()
