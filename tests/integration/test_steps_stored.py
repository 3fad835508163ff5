"""Every step through a contract, its preview and a worker: the rows are the same, and those of a plain reading."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.batch_cases import SMALL
from tests.support.in_process import InProcess
from tests.support.servers import add_database
from tests.support.step_cases import COLUMNS, VALUES, Row, alike
from tests.support.steps import SECRET, STEPS
from tests.unit.test_steps import CASES, contract_of

from gristmill.datasets.pipeline import bind_pipeline

ROWS = 14


@pytest.fixture(scope="module")
def secret() -> Iterator[InProcess]:
    """Gristmill with a secret and small chunks, on one database for all steps."""
    url = add_database(os.environ["GRISTMILL_TEST_POSTGRES"], os.environ["GRISTMILL_TEST_TEMPLATE"])
    found = InProcess(url, transforms_secrets=f"example={SECRET}", jobs_chunk_records=5)
    with found.http:
        yield found
    found.gristmill.database.close()


def rows_of(case: Any) -> list[Row]:
    values = {name: [None, *some] for name, some in (VALUES | ({} if case.may_be_cut else SMALL)).items()}
    return [{"n": n, **{name: some[n % len(some)] for name, some in values.items()}} for n in range(ROWS)]


def stored(row: Row) -> Row:
    """A row as its dataset has it: each column under another name, as no field is called like what is sent."""
    return {f"out_{name}": value for name, value in row.items()}


@pytest.mark.promise(9)
@pytest.mark.promise(10)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_preview_a_worker_and_a_second_attempt_give_the_same_rows(secret: InProcess, case: Any) -> None:
    (step,) = bind_pipeline(contract_of(case.step), STEPS)
    fields: list[dict[str, Any]] = [
        {
            "name": f"out_{name}",
            "type": column.type,
            "computed": True,
            **({"dimensions": 2} if column.type == "vector" else {}),
        }
        for name, column in step.columns.items()
    ]
    body = {
        "name": "x",
        "input": list(COLUMNS.values()),
        "fields": fields,
        "pipeline": [dict(case.step), {"op": "rename", "columns": {name: f"out_{name}" for name in step.columns}}],
    }
    sent = rows_of(case)
    found, unfit = case.expected(sent)
    expected = [stored(row) for _, row in found]
    name = secret.dataset(body)
    tried = secret.post(name, {"records": sent, "limit": 100}, path="pipeline/preview").json()
    shown = [one["row"] for one in tried["output"]["rows"]]
    for _ in range(2):
        job = secret.job(secret.post(name, sent, params={"on_error": "quarantine"}))
        assert job["chunks"]["total"] == (3 if case.may_be_cut else 1)
        assert (
            job["record_counts"]["succeeded"] + job["record_counts"]["rejected"] + job["record_counts"]["dropped"]
            == ROWS
        )
        rejects = secret.http.get(f"/api/v1/jobs/{job['id']}/rejects").json()["rejects"]
        assert [one["record"] for one in rejects] == [one["record"] for one in tried["rejects"]] == unfit
    rows = secret.rows(name)
    assert rows[: len(expected)] == rows[len(expected) :] == shown
    assert alike(shown, expected)
