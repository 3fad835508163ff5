"""Vectors for halfvec, judged as a column: what is refused and what is taken is what a single record would be told."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic_core import ValidationError

from gristmill.datasets.contract import EMBEDDING_COLUMN
from gristmill.datasets.contract_parser import Contract, parse_contract
from gristmill.records.columns import as_stored
from gristmill.records.validation.columns import check_columns
from gristmill.records.validation.rows import validator_of

_EDGES = st.sampled_from([0.0, 65504.0, 65504.0001, -65504.5, 65520.0, 2.0**-24, 2.0**-25, 6e-8, -5.9e-8, 1e-9, 1e300])
_NUMBERS = _EDGES | st.floats(-70000, 70000)


def _contract(metric: str) -> Contract:
    body = {"name": "h", "fields": [{"name": "k", "type": "integer", "required": True}]}
    return parse_contract({**body, "embedding": {"dimensions": 2, "metric": metric, "storage": "halfvec"}})


def _is_valid(contract: Contract, vector: list[float]) -> bool:
    try:
        validator_of(contract).validate_python({"k": 1, EMBEDDING_COLUMN: vector})
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@given(vectors=st.lists(st.lists(_NUMBERS, min_size=2, max_size=2), min_size=1, max_size=6))
@example(vectors=[[65504.0001, 1.0], [1e-9, 1e-9], [65504.0, -65504.0]])
def test_no_column_takes_what_a_record_may_not_have(metric: str, vectors: list[list[float]]) -> None:
    contract = _contract(metric)
    table = pa.table({"k": range(len(vectors)), EMBEDDING_COLUMN: pa.array(vectors, pa.list_(pa.float64(), 2))})
    canonical, bad = check_columns(validator_of(contract), table)
    for vector, marked in zip(vectors, bad, strict=True):
        # What is marked is looked at once more, alone; what is not marked must be valid.
        assert marked or _is_valid(contract, vector)
    stored: Any = as_stored(contract, canonical).column(EMBEDDING_COLUMN)
    assert pa.types.is_float16(stored.type.value_type)
    for vector, marked, found in zip(vectors, bad, stored.to_pylist(), strict=True):
        if not marked:
            assert np.array_equal(np.float16(found), np.float32(vector).astype(np.float16))


def test_plain_vectors_are_not_marked() -> None:
    contract = _contract("cosine")
    vectors = np.random.default_rng(3).standard_normal((100, 2)).astype(np.float32)
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 2)
    _, bad = check_columns(validator_of(contract), pa.table({"k": range(100), EMBEDDING_COLUMN: column}))
    assert not bad.any()
