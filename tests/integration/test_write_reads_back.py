"""What is accepted reads back equal: every type, nulls mixed in, through JSON, NDJSON and CSV, by REST both ways."""

import json
import struct
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.in_process import CSV, NDJSON, InProcess
from tests.support.values import CASES, PATH_CASE

from gristmill.datasets.types import TYPES

_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
# The numbers of jsonb have no negative zero; 0.0 is equal to it.
_json_floats = st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0)
_json = st.recursive(
    st.booleans() | st.integers(-(10**30), 10**30) | _json_floats | _text,
    lambda inner: st.lists(inner | st.none(), max_size=3) | st.dictionaries(_text, inner | st.none(), max_size=3),
    max_leaves=8,
)
# Each value in the form in which it is read back.
_COLUMNS = {**CASES, "path": PATH_CASE}
_VALUES = {name: case.values.map(case.reads_back) for name, case in _COLUMNS.items()} | {"json": _json}
_ROWS = st.lists(
    st.fixed_dictionaries({name: st.none() | kind for name, kind in _VALUES.items()}), min_size=1, max_size=6
)


def _cell(name: str, value: Any) -> str:
    """Return the CSV cell; everything that is not null is quoted."""
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    text = value if isinstance(value, str) and name != "json" else json.dumps(value, ensure_ascii=False)
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
        fields: list[dict[str, Any]] = [{"name": name, "type": name, **case.limits} for name, case in _COLUMNS.items()]
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
                numbers = row["vector"]
                row["vector"] = None if numbers is None else [float.fromhex(_as_float32(number)) for number in numbers]
            assert _exact(found) == _exact(expected)

    @pytest.mark.parametrize("name", [name for name, kind in TYPES.items() if kind.may_be_key])
    def test_a_record_is_found_changed_and_replaced_by_a_key_of_any_type(self, app: InProcess, name: str) -> None:
        limits = {"max_length": 20} if name == "text" else {}
        key = {"name": "k", "type": name, "required": True, **limits}
        dataset = app.dataset({"fields": [key, {"name": "n", "type": "integer"}], "key": ["k"]})
        # The empty text cannot stand in a URL.
        keys = [shown for shown in map(TYPES[name].to_json, CASES[name].few) if shown != ""]
        for n, copies in enumerate((1, 300)):
            # Few records go by INSERT and many by COPY; of the copies of a key the last one stays.
            rows = [{"k": shown, "n": n} for shown in keys * copies]
            job = app.job(app.post(dataset, "\n".join(map(json.dumps, rows)).encode(), headers=NDJSON))
            assert (job["state"], job["record_counts"]["succeeded"]) == ("succeeded", len(keys)), job
        for shown in keys:
            path = app.key(dataset, shown)
            assert app.http.get(path).json() == {"k": shown, "n": 1}
            changed = app.http.patch(path, json={"n": 2})
            assert app.job(changed)["state"] == "succeeded"
            assert app.http.get(path).json() == {"k": shown, "n": 2}


def _as_float32(number: float) -> str:
    return float(struct.unpack("f", struct.pack("f", number))[0]).hex()
