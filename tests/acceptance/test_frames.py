"""Frames to real processes and back: what libraries hold is stored as it is, or refused with its place."""

import datetime as dt
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from tests.support.rest import Rest

from gristmill.client import Client, InvalidArgument, InvalidRequest

Json = dict[str, Any]
CONTRACT: Json = {
    "fields": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "t", "type": "text"},
        {"name": "x", "type": "float"},
        {"name": "d", "type": "decimal"},
        {"name": "at", "type": "timestamp"},
        {"name": "length", "type": "duration"},
        {"name": "j", "type": "json"},
        {"name": "v", "type": "vector", "dimensions": 2},
    ],
    "key": ["id"],
}


@pytest.fixture(scope="module")
def client(rest: Rest) -> Iterator[Client]:
    with Client(rest.system.url) as found:
        yield found


class TestSubmit:
    def test_x(self, rest: Rest, client: Client) -> None:
        name = rest.create(CONTRACT)
        print(client.submit(name, pd.DataFrame({"id": [1, 2], "t": ["a", None], "d": [Decimal("1.50"), None], "j":[{"a":1},[2]], "v":[[1,2.5],None], "at": pd.to_datetime(["2026-01-01", None], utc=True)}), wait=True))
        print(list(client.records(name)))
        print(client.records(name).to_arrow())
        f = client.records(name, order="-id", fields=["t","d"]).to_pandas()
        print(f, f.dtypes)
        print(client.records(name).to_polars())
        print(client.aggregate_frame(name, measures=[{"agg":"sum","field":"d"},{"agg":"count"}]).to_pandas())
        for f in (pd.DataFrame({"id":pd.Series([],dtype="Int64")}), pd.DataFrame({"id":pd.Series([],dtype=object)})):
            try: print(client.submit(name, f, wait=True))
            except Exception as e: print(repr(e))
        assert 0
