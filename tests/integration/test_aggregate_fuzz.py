"""Whatever is asked for of every type and at the limits of time: an answer or a refusal, never a defect."""

import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.in_process import InProcess
from tests.support.servers import add_database

from gristmill.records.aggregate.formats import FORMATS

FIELDS = [
    {"name": "id", "type": "integer", "required": True},
    {"name": "at", "type": "timestamp"},
    {"name": "s", "type": "text"},
    {"name": "i", "type": "integer"},
    {"name": "f", "type": "float"},
    {"name": "d", "type": "decimal"},
    {"name": "p", "type": "decimal", "precision": 38, "scale": 0},
    {"name": "u", "type": "uuid"},
    {"name": "b", "type": "boolean"},
    {"name": "t", "type": "duration"},
    {"name": "y", "type": "date"},
    {"name": "j", "type": "json"},
    {"name": "v", "type": "vector", "dimensions": 2},
    {"name": "g", "type": "image"},
]
NAMES = [field["name"] for field in FIELDS]
RECORDS: list[dict[str, Any]] = [
    {"at": "0001-01-01T00:00:00Z", "s": "", "i": -(2**63), "f": -1.7e308, "d": "1e-38", "p": "9" * 38, "b": True},
    {
        "at": "9999-12-31T23:59:59.999999Z",
        "s": "null",
        "i": 2**63 - 1,
        "f": 1.7e308,
        "d": "9" * 38,
        "p": "-" + "9" * 38,
    },
    {"at": "2025-10-26T00:30:00Z", "s": None, "i": 2**53 + 1, "f": 5e-324, "d": "0.1", "b": False, "y": "9999-12-31"},
    {"at": "2025-10-26T00:30:00Z", "s": "x" * 200, "i": 2**63 - 1, "f": -0.0, "t": "P106751991D", "y": "0001-01-01"},
    {
        "at": "2025-10-26T01:30:00Z",
        "s": 'a\nb"c\\d%s',
        "t": "-P106751991D",
        "u": "0192f0c2-7d3a-7000-8000-0123456789ab",
    },
    {"s": "id", "j": {"a": [1, "\n"]}, "v": [1, 2], "g": "iVBORw0KGgoAAAANSUhEUg==", "t": "PT0S"},
]
words = st.sampled_from([*NAMES, "start", "end", "m", "r", "variable", "value", "null", "nothing"])
spans = st.sampled_from(
    ["1s", "7h", "1h", "36h", "1d", "1w", "1mo", "5mo", "1y", "1000y", "250ms", "PT1M", "5 bananas"]
)
times = st.sampled_from([
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "2025-10-26T00:00:00Z", "2025-10-26T02:30:00"),
    *("1800-01-01T00:00:00Z", "2026-01-31", "9999-12-31", "x"),
])  # fmt: skip
zones = st.sampled_from(["UTC", "Europe/Berlin", "Pacific/Apia", "Australia/Lord_Howe", "America/St_Johns", "nowhere"])
aggs = st.sampled_from(["count", "sum", "mean", "min", "max", "first", "last"])
more = st.sampled_from(["median", "quantile", "stddev", "distinct"])


def members(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


measures = members({"agg": aggs | more, "field": words}, {"as": words, "q": st.sampled_from([0.0, 0.1, 1e-300, 1.0])})
steps = members(
    {"column": words, "window": spans | st.sampled_from([1, 3, 10**9]), "agg": aggs | st.just("stddev")},
    {"by": st.lists(words, max_size=2), "as": words, "min_periods": st.sampled_from([1, 2, 10**9])},
)
common = {
    "rolling": st.lists(steps, max_size=2),
    "pivot": members(
        {"columns": words, "column": words},
        {"index": st.lists(words, max_size=2), "agg": aggs, "prefix": st.sampled_from(["", "p ", "\0", '"', "\\x"])},
    ),
    "melt": members({}, {"index": st.lists(words, max_size=2), "columns": st.lists(words, min_size=1, max_size=3)}),
    "order": st.lists(words.map(lambda name: f"-{name}") | words, min_size=1, max_size=2),
    "limit": st.sampled_from([1, 3, 10**9]),
    "start": times,
    "end": times,
    "where": st.sampled_from([{}, {"id": {"ge": 1}}, {"s": {"null": True}}, {"id": 99}]),
}
bodies = st.one_of(
    members(
        {"measures": st.lists(measures, max_size=3)},
        {
            "every": spans, "zone": zones, "origin": times, "offset": spans, "by": st.lists(words, max_size=2),
            "fill": st.sampled_from(["null", "previous", "linear", {"value": 1}, {"value": "1.5"}]), **common,
        },
    ),
    members({"fields": st.lists(words, min_size=1, max_size=4, unique=True)}, common),
)  # fmt: skip


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Any:
    found = InProcess(
        add_database(os.environ["GRISTMILL_TEST_POSTGRES"], os.environ["GRISTMILL_TEST_TEMPLATE"]),
        aggregate_max_rows=20_000,
    )
    with found.http:
        yield found
    found.gristmill.database.close()


@pytest.fixture(scope="module", params=["at", "y", None])
def name(app: InProcess, request: pytest.FixtureRequest) -> str:
    """Datasets by the type of their time field; the last one has no key either."""
    contract: dict[str, Any] = {"fields": FIELDS}
    if request.param is not None:
        contract |= {"time_field": request.param, "key": ["id"]}
    found = app.dataset(contract)
    app.work()
    records = [{"id": index, **record} for index, record in enumerate(RECORDS)]
    assert app.job(app.post(found, records))["state"] == "succeeded"
    return found


class TestFuzz:
    @settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
    @given(body=bodies, form=st.sampled_from(list(FORMATS)))
    def test_no_answer_is_a_defect(self, app: InProcess, name: str, body: Any, form: str) -> None:
        answer = app.http.post(f"/api/v1/datasets/{name}/aggregate?format={form}", json=body)
        assert answer.status_code in (200, 409, 422), f"{answer.text}\n{json.dumps(body)}"
        if answer.status_code != 200:
            assert answer.json()["detail"]
        elif form == "json":
            found = answer.json()
            names = [column["name"] for column in found["columns"]]
            assert len(set(names)) == len(names)
            assert all(list(row) == names for row in found["rows"])
