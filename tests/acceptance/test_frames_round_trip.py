"""Frames to real processes and back are equal: every type of field, nulls among the values."""

import itertools
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.support.rest import Json, Rest
from tests.support.values import CASES, CONTRACT, EXTREMES, ROWS, TYPES, as_json

from gristmill.client import Client

pytestmark = pytest.mark.promise(9)

CARRIED: Json = {**CONTRACT, "embedding": {"dimensions": 3, "metric": "l2"}}
ids = itertools.count(2**61)
# Every example costs jobs and exports: the first one that fails is shown as it is.
_PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


@pytest.fixture(scope="module")
def client(rest: Rest) -> Iterator[Client]:
    with Client(rest.system.url) as found:
        yield found


@pytest.fixture(scope="module")
def pair(rest: Rest) -> tuple[str, str]:
    """Two datasets of one contract."""
    return rest.create(CARRIED), rest.create(CARRIED)


def as_object(kind: str, value: Any) -> Any:
    """The Python object that a frame holds of a value."""
    if value is None:
        return None
    # Values of json of more than one type are one column as JSON text only.
    return json.dumps(value) if kind == "json" else value


def carry(rest: Rest, client: Client, pair: tuple[str, str], rows: list[Json]) -> None:
    """Submit a frame of Python objects, read it back, submit that to the second dataset, and compare all there is."""
    source, target = pair
    sent = [{"id": next(ids), **{name: row[name] for name in TYPES}} for row in rows]
    columns = {f"f_{kind}": [as_object(kind, row[kind]) for row in sent] for kind in TYPES}
    frame = pd.DataFrame(
        {"id": [row["id"] for row in sent], **{name: pd.Series(one, dtype=object) for name, one in columns.items()}}
    )
    # Python's own durations are shorter than the longest that Arrow and fields hold.
    lengths = pa.array(columns["f_duration"], pa.int64()).cast(pa.duration("us"))
    frame["f_duration"] = pd.Series(pd.arrays.ArrowExtensionArray(lengths))
    frame["_embedding"] = [[0.5, -1.5, float(row)] for row in range(len(sent))]
    client.submit(source, frame, wait=60)
    where = {"id": {"between": [sent[0]["id"], sent[-1]["id"]]}}

    back = client.records(source, where=where, include=["embedding"]).to_pandas()
    assert all(isinstance(kind, pd.ArrowDtype) for kind in back.dtypes), back.dtypes
    for name in TYPES:
        column = pa.array(back[f"f_{name}"])
        got = (column.cast(pa.int64()) if name == "duration" else column).to_pylist()
        for row, value in zip(sent, got, strict=True):
            assert (value is None) == (row[name] is None), (name, row[name], value)
            if value is not None:
                assert same(name, row[name], value), f"{name}: {row[name]!r} became {value!r}"

    client.submit(target, back, wait=60)
    expected = [{"id": row["id"], **{f"f_{name}": as_json(name, row[name]) for name in TYPES}} for row in sent]
    text = json.dumps(where)
    stored, carried = (rest.rows(name, where=text, include="embedding") for name in pair)
    assert [row["id"] for row in stored] == [row["id"] for row in expected]
    for one, other in zip(stored, carried, strict=True):
        for name in one:
            shown, got = json.dumps(one[name]), json.dumps(other[name])
            assert shown == got or same_decimal(name, one[name], other[name]), f"{name}: {shown} became {got}"


def same(name: str, value: Any, got: Any) -> bool:
    """Say whether a value of a frame is the one that was sent."""
    if name == "uuid":
        return bool(got == str(value))
    compare = CASES[name].same
    return bool(got == value) if compare is None else compare(value, json.loads(got) if name == "json" else got)


def same_decimal(name: str, one: Any, other: Any) -> bool:
    """Say whether two decimals are one number: those of a column of Arrow have the places of the longest."""
    return name == "f_decimal" and bool(Decimal(one) == Decimal(other))


class TestRoundTrip:
    def test_extremes_beside_nulls(self, rest: Rest, client: Client, pair: tuple[str, str]) -> None:
        rows: list[Json] = [
            {name: (values[at] if at < len(values) else None) for name, values in EXTREMES.items()}
            for at in range(max(map(len, EXTREMES.values())) + 1)
        ]
        carry(rest, client, pair, rows)

    @settings(max_examples=30, phases=_PHASES, deadline=None)
    @given(rows=ROWS, copies=st.sampled_from([1, 30]))
    def test_any_value_of_any_type(
        self, rest: Rest, client: Client, pair: tuple[str, str], rows: list[Json], copies: int
    ) -> None:
        carry(rest, client, pair, rows * copies)
