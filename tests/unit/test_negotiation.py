"""Lists with weights: which coding or media type a client would rather have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.core.errors import NotAcceptable
from gristmill.core.http.formats import accepted_format
from gristmill.kit.negotiation import best_coding, best_type, read_weights
from gristmill.records.export.endpoints import ACCEPTED


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("GZIP ; Q=0.5", "gzip"),
        ("gzip, zstd", "zstd"),
        ("gzip;q=1.0, zstd;q=0.9", "gzip"),
        ("gzip, deflate, br", "gzip"),
        ("gzip;q=0", None),
        ("gzip;q=0, zstd", "zstd"),
        ("br, *", None),
        ("identity", None),
        ("identity, gzip;q=0.5", None),
        ("identity;q=0.5, gzip", "gzip"),
        ("gzip;q=2", "gzip"),
    ],
)
def test_a_coding_is_used_only_where_it_is_named_and_preferred(header: str, coding: str | None) -> None:
    assert best_coding(header, ("zstd", "gzip")) == coding


@pytest.mark.parametrize(
    ("header", "format"),
    [
        ("", "ndjson"),
        ("*/*", "ndjson"),
        ("text/csv", "csv"),
        ("text/*", "csv"),
        ("text/csv;header=present, */*;q=0.1", "csv"),
        ("application/*;q=0.5, text/csv;q=0.4", "ndjson"),
        ("application/vnd.apache.parquet", "parquet"),
        ("application/parquet", "parquet"),
        ("text/html, application/xhtml+xml, */*;q=0.8", "ndjson"),
        ("application/json, text/plain, */*", "ndjson"),
        ("*/*, application/x-ndjson;q=0, application/ndjson;q=0, application/jsonl;q=0", "csv"),
    ],
)
def test_the_format_of_an_export_is_the_one_that_is_preferred(header: str, format: str) -> None:
    assert accepted_format([header], ACCEPTED, "an export") == format


@pytest.mark.parametrize("header", ["application/json", "image/*", "text/csv;q=0", "text/csv;q=0, image/png"])
def test_a_client_that_takes_none_is_told_which_there_are(header: str) -> None:
    with pytest.raises(NotAcceptable, match=r"application/x-ndjson, .*text/csv"):
        accepted_format([header], ACCEPTED, "an export")


@given(weights=st.dictionaries(st.sampled_from(["a/b", "a/c", "d/e"]), st.integers(0, 1000)))
def test_the_heaviest_of_what_is_offered_wins(weights: dict[str, int]) -> None:
    header = ", ".join(f"{name};q={weight / 1000:.3f}" for name, weight in weights.items())
    assert read_weights(header) == {name: weight / 1000 for name, weight in weights.items()}
    best = best_type(header, ["a/b", "a/c", "d/e"])
    if weights:
        assert weights.get(best or "", 0) == max(weights.values())
    else:
        assert best == "a/b"


@given(st.text())
def test_any_header_is_read(header: str) -> None:
    read_weights(header)
    best_coding(header, ("gzip",))
    best_type(header, ("a/b",))
