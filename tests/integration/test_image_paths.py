"""Every path that leads below the image folder is taken and read back equal; every other one is refused by record."""

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.support.columnar import as_stream
from tests.support.in_process import CSV, NDJSON, InProcess
from tests.support.paths import ANY_PATHS, is_safe

FIELDS = [{"name": "n", "type": "integer", "required": True}, {"name": "photo", "type": "image", "stored_as": "path"}]
PARQUET = {"content-type": "application/vnd.apache.parquet"}
ARROW = {"content-type": "application/vnd.apache.arrow.stream"}


def bodies(paths: list[str]) -> list[tuple[Any, dict[str, str]]]:
    records = [{"n": n, "photo": path} for n, path in enumerate(paths)]
    cells = ['"' + path.replace('"', '""') + '"' for path in paths]
    table = pa.table({"n": range(len(paths)), "photo": pa.array(paths, pa.string())})
    parquet = io.BytesIO()
    pq.write_table(table, parquet)
    return [
        (json.dumps(records).encode(), {"content-type": "application/json"}),
        ("\n".join(map(json.dumps, records)).encode(), NDJSON),
        (("n,photo\n" + "".join(f"{n},{cell}\n" for n, cell in enumerate(cells))).encode(), CSV),
        (parquet.getvalue(), PARQUET),
        (as_stream(table), ARROW),
    ]


@pytest.fixture(scope="module")
def name(module_app: InProcess) -> str:
    found = module_app.dataset({"fields": FIELDS, "key": ["n"]})
    module_app.work()
    return found


@pytest.mark.promise(9)
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(paths=st.lists(ANY_PATHS, min_size=1, max_size=25))
@example(paths=["a.jpg", "../../etc/passwd", "/etc/passwd", "con", "a/b.jpg"])
def test_safe_paths_read_back_equal_and_others_are_refused_in_every_format(
    module_app: InProcess, name: str, paths: list[str]
) -> None:
    app, unsafe = module_app, [n for n, path in enumerate(paths) if not is_safe(path)]
    safe = [path for path in paths if is_safe(path)]
    for body, headers in bodies(paths):
        answer = app.post(name, body, path="validate", headers=headers)
        errors = answer.json().get("errors", [])
        assert [one["record"] for one in errors] == unsafe, headers
        assert {(one["code"], one["field"]) for one in errors} <= {("unsafe_path", "photo")}, headers
        assert app.post(name, body, headers=headers).status_code == (422 if unsafe else 202)
    app.work()
    for body, headers in bodies(safe) if safe else []:
        assert app.job(app.http.post(f"/api/v1/datasets/{name}/truncate"))["state"] == "succeeded"
        assert app.job(app.post(name, body, headers=headers))["state"] == "succeeded"
        assert app.rows(name) == [{"n": n, "photo": path} for n, path in enumerate(safe)], headers
