"""A file that curl or a page uploads with a form becomes records as the file itself would."""

import gzip

import pyarrow as pa
import pytest
from tests.support.columnar import as_parquet
from tests.support.refusals import refused
from tests.support.rest import Rest

CONTRACT = {"fields": [{"name": "k", "type": "text", "required": True}, {"name": "n", "type": "integer"}], "key": ["k"]}
ROWS = [{"k": f"k{number}", "n": number} for number in range(3)]
CSV = "k,n\n" + "".join(f"{row['k']},{row['n']}\n" for row in ROWS)
FILES = {
    "notes.csv": CSV.encode(),
    "notes.csv.gz": gzip.compress(CSV.encode()),
    "notes.parquet": as_parquet(pa.table({"k": [row["k"] for row in ROWS], "n": [row["n"] for row in ROWS]})),
}


@pytest.fixture
def path(rest: Rest) -> str:
    return f"/api/v1/datasets/{rest.create(CONTRACT)}"


class TestUpload:
    @pytest.mark.parametrize("name", FILES)
    def test_the_rows_of_a_file(self, rest: Rest, path: str, name: str) -> None:
        job = rest.succeeded(rest.http.post(f"{path}/records", files={"file": (name, FILES[name])}))
        assert job["record_counts"]["succeeded"] == 3
        assert rest.rows(path.split("/")[-1]) == ROWS

    def test_a_replay_is_the_same_job_whatever_the_boundary(self, rest: Rest, path: str) -> None:
        key = {"idempotency-key": path}
        jobs = [
            rest.http.post(f"{path}/records", files={"file": ("a.csv", CSV)}, headers=key).json()["id"]
            for _ in range(2)
        ]
        assert jobs[0] == jobs[1]
        for name, body in (("a.csv", CSV + "x,1\n"), ("a.json", CSV)):
            answer = rest.http.post(f"{path}/records", files={"file": (name, body)}, headers=key)
            assert answer.status_code == 422, answer.text

    def test_mistakes_have_their_lines(self, rest: Rest, path: str) -> None:
        body = refused(rest.http.post(f"{path}/records", files={"file": ("a.csv", "k,n\na,x\n")}), 422, "invalid")
        assert [(one["line"], one["field"]) for one in body["errors"]] == [(2, "n")]
        body = refused(rest.http.post(f"{path}/validate", files={"file": ("a.csv", "k,n\na,x\n")}), 422, "invalid")
        assert body["errors"][0]["line"] == 2
        assert rest.http.post(f"{path}/validate", files={"file": ("a.csv", CSV)}).json()["valid"]

    def test_what_is_refused(self, rest: Rest, path: str) -> None:
        url = f"{path}/records"
        refused(rest.http.post(url, files={"file": ("a.xlsx", "x")}), 415, "unsupported_media_type")
        refused(rest.http.post(url, files=[("a", ("a.csv", CSV)), ("b", ("b.csv", CSV))]), 400, "malformed")
        refused(
            rest.http.post(url, files={"file": ("a.csv", CSV)}, headers={"content-encoding": "gzip"}),
            415,
            "unsupported_media_type",
        )
        refused(rest.http.post(url, files={"file": ("a.csv.gz", CSV)}), 400, "malformed")
        refused(
            rest.http.post(url, content=b"", headers={"content-type": "multipart/form-data; boundary=x"}),
            400,
            "malformed",
        )
        refused(rest.http.post(url, data={"on_error": "quarantine"}), 415, "unsupported_media_type")
        assert rest.rows(path.split("/")[-1]) == []
