"""What is exported can be submitted again and is equal: every type, every format, nulls among the values."""

import itertools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.support.rest import Json, Rest
from tests.support.values import CONTRACT, EXTREMES, ROWS, TYPES, as_json

pytestmark = pytest.mark.promise(9)

MEDIA_TYPES = {
    "csv": "text/csv",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}
FORMATS = list(MEDIA_TYPES)
CARRIED: Json = {**CONTRACT, "embedding": {"dimensions": 3, "metric": "l2"}}
VECTORS = itertools.cycle([[0.1, -0.0, 1.5], [1e-30, 3.0, -2.5], [0.0, 0.0, 0.0]])
ids = itertools.count(2**61)
# Every example costs jobs and an export: the first one that fails is shown as it is.
_PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


@pytest.fixture(scope="module")
def pair(rest: Rest) -> tuple[str, str]:
    """Two datasets of one contract."""
    return rest.create(CARRIED), rest.create(CARRIED)


def carry(rest: Rest, pair: tuple[str, str], rows: list[Json], format: str) -> None:
    """Store the rows under new ids in the first dataset, carry them over to the second, and compare all there is."""
    sent = [
        {"id": next(ids), "_embedding": next(VECTORS), **{f"f_{name}": as_json(name, row[name]) for name in TYPES}}
        for row in rows
    ]
    source, target = pair
    body = "\n".join(json.dumps(row) for row in sent).encode()
    job = rest.finished(rest.post(source, body, headers={"content-type": MEDIA_TYPES["ndjson"]}, params={"wait": 30}))
    assert job["state"] == "succeeded", job
    where = json.dumps({"id": {"between": [sent[0]["id"], sent[-1]["id"]]}})
    query = {"format": format, "where": where, "include": "embedding"}
    export = rest.http.get(f"/api/v1/datasets/{source}/export", params=query)
    assert export.status_code == 200, export.text
    answer = rest.post(target, export.content, headers={"content-type": MEDIA_TYPES[format]}, params={"wait": 30})
    assert answer.status_code in (200, 202), answer.text[:2000]
    assert rest.succeeded(answer)["record_counts"]["succeeded"] == len(sent)
    stored, carried = (rest.rows(name, where=where, include="embedding") for name in pair)
    for one, other in zip(stored, carried, strict=True):
        for name in one:
            # As text: -0.0 is another number than 0.0, and 1 another than 1.0.
            shown, got = json.dumps(one[name]), json.dumps(other[name])
            assert shown == got, f"{name} through {format}: {shown} became {got}"


class TestRoundTrip:
    @pytest.mark.parametrize("format", FORMATS)
    def test_extremes_beside_nulls(self, rest: Rest, pair: tuple[str, str], format: str) -> None:
        rows: list[Json] = [
            {name: (values[at] if at < len(values) else None) for name, values in EXTREMES.items()}
            for at in range(max(map(len, EXTREMES.values())) + 1)
        ]
        carry(rest, pair, rows, format)

    @settings(max_examples=40, phases=_PHASES)
    @given(rows=ROWS, format=st.sampled_from(FORMATS), copies=st.sampled_from([1, 30]))
    def test_any_value_of_any_type(
        self, rest: Rest, pair: tuple[str, str], rows: list[Json], format: str, copies: int
    ) -> None:
        carry(rest, pair, rows * copies, format)

    @settings(max_examples=10, phases=_PHASES)
    @given(rows=ROWS)
    def test_the_lines_of_an_export_are_the_records_that_reads_show(
        self, rest: Rest, pair: tuple[str, str], rows: list[Json]
    ) -> None:
        sent = [{"id": next(ids), "_embedding": [1, 2, 3], **_fields(row)} for row in rows]
        rest.store(pair[0], sent)
        where = json.dumps({"id": {"between": [sent[0]["id"], sent[-1]["id"]]}})
        lines = rest.http.get(f"/api/v1/datasets/{pair[0]}/export", params={"where": where}).content.splitlines()
        assert [_same_vector(json.loads(line)) for line in lines] == [
            _same_vector(row) for row in rest.rows(pair[0], where=where)
        ]

    def test_a_vector_that_lies_between_two_short_texts(self, rest: Rest, pair: tuple[str, str]) -> None:
        row = {"id": next(ids), "_embedding": [1, 2, 3], "f_vector": [-40994032.0, 1.0, 0.1]}
        rest.store(pair[0], [row])
        where = json.dumps({"id": row["id"]})
        export = rest.http.get(f"/api/v1/datasets/{pair[0]}/export", params={"where": where}).json()
        (shown,) = rest.rows(pair[0], where=where)
        for vector in (export["f_vector"], shown["f_vector"]):
            assert np.array_equal(np.float32(vector), np.float32(row["f_vector"]))


def _same_vector(row: Json) -> Json:
    # numpy and Postgres may choose different texts for one float32, where the shorter lies just between two of them.
    vector = row["f_vector"]
    return {**row, "f_vector": vector and np.float32(vector).tolist()}


def _fields(row: dict[str, Any]) -> Json:
    return {f"f_{name}": as_json(name, row[name]) for name in TYPES}
