"""Whatever stands in the headers that calls read: an answer or a refusal, never a defect; on both kinds of routes."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.integration.test_write_rest import ONE
from tests.support.in_process import InProcess

# What a header may hold: the server refuses control characters before anybody reads it.
TEXT = st.text(st.sampled_from([*map(chr, range(0x20, 0x7F)), "\t", "ä"]), max_size=20).map(str.strip)
TAGS = st.lists(st.sampled_from(["*", '"1.0.1"', 'W/"x"', '"9.9.9--gzip"', "", '"', "x"]), max_size=3).map(", ".join)
VALUES = {
    "if-match": TAGS | TEXT,
    "if-none-match": TAGS | TEXT,
    "prefer": st.sampled_from(["wait=0", 'wait="0"', "wait", "respond-async", "wait=0;x"]) | TEXT,
    "idempotency-key": TEXT,
    "accept": st.sampled_from(["*/*", "text/csv", "a/b", "text/html", ";q=", "*/*;q=0"]) | TEXT,
    "accept-encoding": st.sampled_from(["gzip", "zstd", "gzip;q=0", "*", "identity;q=0"]) | TEXT,
    "origin": TEXT,
    "if-modified-since": TEXT,
    "if-unmodified-since": TEXT,
}
HEADERS = st.lists(
    st.sampled_from(sorted(VALUES)).flatmap(lambda name: st.tuples(st.just(name), VALUES[name])), max_size=4
)
CALLS = [
    ("GET", "/"),
    ("GET", "/api/v1/jobs"),
    ("GET", "/api/v1/jobs/{job}"),
    ("HEAD", "/api/v1/jobs/{job}"),
    ("POST", "/api/v1/jobs/{job}/cancel"),
    ("POST", "/api/v1/jobs/{job}/retry"),
    ("GET", "/api/v1/datasets/{name}"),
    ("PATCH", "/api/v1/datasets/{name}"),
    ("DELETE", "/api/v1/datasets/{name}"),
    ("GET", "/api/v1/datasets/{name}/records/a"),
    ("PATCH", "/api/v1/datasets/{name}/records/a"),
    ("DELETE", "/api/v1/datasets/{name}/records/none"),
    ("POST", "/api/v1/datasets/{name}/records"),
    ("GET", "/api/v1/datasets/{name}/export"),
    ("HEAD", "/api/v1/datasets/{name}/export"),
]


@pytest.fixture
def places(app: InProcess) -> dict[str, str]:
    name = app.dataset(ONE)
    job = app.job(app.post(name, [{"k": "a", "v": 1}]))
    return {"name": name, "job": job["id"]}


@settings(max_examples=300)
@given(call=st.sampled_from(CALLS), headers=HEADERS)
def test_no_header_is_a_defect(
    app: InProcess, places: dict[str, str], call: tuple[str, str], headers: list[tuple[str, str]]
) -> None:
    method, path = call
    body: Any = [{"k": "a"}] if method == "POST" else {"v": 2}
    given_headers = [(name, value.encode("latin-1")) for name, value in headers]
    options = {} if method in ("GET", "HEAD") else {"json": body}
    answer = app.http.request(method, path.format(**places), headers=given_headers, follow_redirects=False, **options)
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
    if method == "HEAD" or answer.status_code == 304:
        assert answer.content == b""
