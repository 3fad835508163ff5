"""What was accepted reads back equal: every type, nulls among the values, through JSON, NDJSON and CSV."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.rest import Json, Rest
from tests.support.values import CASES, CONTRACT, EXTREMES, ROWS, TYPES, as_cell, as_json

pytestmark = pytest.mark.promise(9)


def encode(rows: list[Json], how: str) -> tuple[bytes, str]:
    """Return body and Content-Type of a request with these rows."""
    if how == "csv":
        lines = [",".join(["id", *(f"f_{name}" for name in TYPES)])]
        lines += [",".join([str(row["id"]), *(as_cell(name, row[name]) for name in TYPES)]) for row in rows]
        return "\r\n".join(lines).encode(), "text/csv"
    sent = [{"id": row["id"], **{f"f_{name}": as_json(name, row[name]) for name in TYPES}} for row in rows]
    if how == "json":
        return json.dumps(sent).encode(), "application/json"
    if how == "wrapped":
        return json.dumps({"records": sent}, ensure_ascii=False).encode(), "application/json"
    # Absent and null are the same.
    texts = [{name: value for name, value in row.items() if value is not None} for row in sent]
    return "\n".join(json.dumps(text, ensure_ascii=False) for text in texts).encode(), "application/x-ndjson"


@pytest.fixture(scope="module")
def dataset(rest: Rest) -> str:
    return rest.create(CONTRACT)


ids = itertools.count(2**62)


def check(rest: Rest, dataset: str, rows: list[Json], how: str) -> None:
    """Store the rows under new ids in one request and compare every value that comes back."""
    rows = [{"id": next(ids), **row} for row in rows]
    body, kind = encode(rows, how)
    answer = rest.post(dataset, body, headers={"content-type": kind}, params={"wait": 30})
    assert answer.status_code == 200, answer.text[:2000]
    counts = answer.json()["record_counts"]
    assert (answer.json()["state"], counts["succeeded"]) == ("succeeded", len(rows)), answer.text
    where = json.dumps({"id": {"between": [rows[0]["id"], rows[-1]["id"]]}})
    found = {record["id"]: record for record in rest.rows(dataset, where=where)}
    for row in rows:
        got = found[row["id"]]
        for name, case in CASES.items():
            assert case.is_same(row[name], got[f"f_{name}"]), f"{name}: sent {row[name]!r}, got {got[f'f_{name}']!r}"


class TestReadBack:
    @pytest.mark.parametrize("how", ["json", "wrapped", "ndjson", "csv"])
    def test_extremes_beside_nulls(self, rest: Rest, dataset: str, how: str) -> None:
        rows = [
            {name: (values[at] if at < len(values) else None) for name, values in EXTREMES.items()}
            for at in range(max(map(len, EXTREMES.values())) + 1)
        ]
        check(rest, dataset, rows, how)
        # Above 200 rows they take the other way into the table.
        check(rest, dataset, rows[1:] * 16, how)

    @settings(max_examples=40)
    @given(rows=ROWS, how=st.sampled_from(["json", "wrapped", "ndjson", "csv"]), copies=st.sampled_from([1, 30]))
    def test_any_value_of_any_type(self, rest: Rest, dataset: str, rows: list[Json], how: str, copies: int) -> None:
        check(rest, dataset, rows * copies, how)

    def test_one_record_by_key_is_the_same_as_in_a_page(self, rest: Rest, dataset: str) -> None:
        number = next(ids)
        record = {
            "id": number,
            "f_integer": 2**53 + 1,
            "f_decimal": "1.10",
            "f_timestamp": "2026-01-31T12:00:00.000001Z",
        }
        rest.store(dataset, [record])
        expected = {**{f"f_{name}": None for name in TYPES}, **record}
        assert rest.http.get(rest.record(dataset, str(number))).json() == expected
        assert rest.rows(dataset, where=json.dumps({"id": number})) == [expected]
