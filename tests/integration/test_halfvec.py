"""Vectors stored as halfvec: rounded to 16-bit floats because the contract asks for it, the same by every way in."""

import uuid
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_core import ValidationError

from gristmill.core.database import Database
from gristmill.core.errors import Invalid
from gristmill.datasets.contract_parser import Contract, KnownEmbedder, parse_contract
from gristmill.datasets.ddl import create_table, plain_columns
from gristmill.datasets.types import TYPES
from gristmill.datasets.types.matrices import vector_column
from gristmill.records.apply import upsert as write
from gristmill.records.apply.upsert import Part, upsert
from gristmill.records.changes import repository
from gristmill.records.columns import as_stored, to_table
from gristmill.records.payload import decode, encode
from gristmill.records.read.pages import read_one
from gristmill.records.validation.rows import validator_of

_FIELDS = [{"name": "k", "type": "integer", "required": True}]
_numbers = st.floats(-65504, 65504, width=32)


def _contract(name: str = "h", dimensions: int = 3, key: bool = True, **embedding: Any) -> Contract:
    body = {"name": name, "fields": _FIELDS, **({"key": ["k"]} if key else {})}
    return parse_contract({**body, "embedding": {"dimensions": dimensions, "storage": "halfvec", **embedding}})


def _create(database: Database, **options: Any) -> Contract:
    contract = _contract("h_" + uuid.uuid4().hex[:12], **options)
    with database.transaction() as connection:
        create_table(connection, contract, uuid.uuid4())
    return contract


def _write(database: Database, contract: Contract, vectors: list[Any], seq: int = 1) -> None:
    rows = [validator_of(contract).validate_python({"k": k, "_embedding": v}) for k, v in enumerate(vectors)]
    table = to_table(contract.input_columns, rows)
    payload = encode(as_stored(contract, table) if seq % 2 else table)
    with database.transaction() as connection:
        upsert(connection, contract, [Part(decode(payload), seq, 0)])


def _stored(database: Database, contract: Contract) -> list[Any]:
    with database.autocommit() as connection:
        found = connection.exec_driver_sql(f"SELECT _embedding::real[] FROM data.{contract.name} ORDER BY k")
        return [None if row[0] is None else np.float32(row[0]).tolist() for row in found]


def _rounded(vector: Any) -> Any:
    return None if vector is None else np.float32(np.array(vector, np.float32).astype(np.float16)).tolist()


class TestWriting:
    @pytest.fixture(params=[(200, True), (0, True), (0, False)], ids=["direct", "merge", "copy"])
    def contract(self, request: pytest.FixtureRequest, database: Database, monkeypatch: pytest.MonkeyPatch) -> Contract:
        rows, key = request.param
        monkeypatch.setattr(write, "DIRECT_ROWS", rows)
        return _create(database, metric="l2", key=key)

    @given(vectors=st.lists(st.none() | st.lists(_numbers, min_size=3, max_size=3), max_size=8), seq=st.integers(1, 2))
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    def test_every_way_rounds_to_the_nearest_half(
        self, database: Database, contract: Contract, vectors: list[Any], seq: int
    ) -> None:
        with database.autocommit() as connection:
            connection.exec_driver_sql(f"TRUNCATE data.{contract.name}")
        _write(database, contract, vectors, seq)
        assert _stored(database, contract) == [_rounded(vector) for vector in vectors]

    def test_vectors_of_an_embedder_are_rounded_too(self, database: Database, contract: Contract) -> None:
        body = {**contract.as_json(), "fields": [*_FIELDS, {"name": "t", "type": "text"}]}
        body["name"] += "e"
        body["embedding"] = {"from": ["t"], "storage": "halfvec"}
        made = parse_contract(body, {"static": KnownEmbedder(3)})
        rows = [validator_of(made).validate_python({"k": k, "t": "x"}) for k in range(2)]
        vectors = np.array([[0.1, 0.2, 0.3], [np.nan] * 3], np.float32)
        with database.transaction() as connection:
            create_table(connection, made, uuid.uuid4())
            table = to_table(made.input_columns, rows).append_column("_embedding", vector_column(vectors, 3))
            upsert(connection, made, [Part(table, 1, 0)])
        assert _stored(database, made) == [_rounded(vectors[0]), None]


class TestReading:
    def test_numbers_come_back_as_they_are_stored(self, database: Database) -> None:
        contract = _create(database)
        _write(database, contract, [[0.1, -1 / 3, 65504]])
        with database.autocommit() as connection:
            found = read_one(connection, contract, (0,), embedding=True)
        assert found is not None
        record = found[0]
        assert record == {"k": 0, "_embedding": [0.099975586, -0.33325195, 65504.0]}
        # Sent again they are the same vector.
        _write(database, contract, [record["_embedding"]], seq=3)
        assert _stored(database, contract) == [_rounded([0.1, -1 / 3, 65504])]

    def test_a_patched_vector_is_rounded(self, database: Database) -> None:
        contract = _create(database)
        _write(database, contract, [[1, 2, 3]])
        changes = validator_of(contract).validate_changes(b'{"_embedding": [0.1, 0, 1]}')
        with database.transaction() as connection:
            assert repository.patch(connection, contract, (0,), changes, 9)
        assert _stored(database, contract) == [_rounded([0.1, 0, 1])]


class TestContract:
    def test_the_storage_is_shown_and_the_column_is_a_halfvec(self, database: Database) -> None:
        contract = _create(database, dimensions=4000)
        assert contract.as_json()["embedding"]["storage"] == contract.vector_storage == "halfvec"
        with database.autocommit() as connection:
            kind = connection.exec_driver_sql(
                "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attname = '_embedding' AND"
                f" attrelid = 'data.{contract.name}'::regclass"
            ).scalar()
        assert kind == "halfvec(4000)"
        _write(database, contract, [[1.0] * 4000, None])
        assert _stored(database, contract) == [[1.0] * 4000, None]

    def test_twice_the_dimensions_fit_a_row(self) -> None:
        assert plain_columns(_contract(dimensions=3800)) == ["_embedding"]
        assert plain_columns(_contract(dimensions=3900)) == []

    @pytest.mark.parametrize(
        ("storage", "dimensions", "says"),
        [("halfvec", 4001, "more than 4000 dimensions"), ("vector", 2001, '"storage": "halfvec" takes up to 4000')],
    )
    def test_too_many_dimensions_are_refused(self, storage: str, dimensions: int, says: str) -> None:
        with pytest.raises(Invalid) as caught:
            _contract(dimensions=dimensions, storage=storage)
        (violation,) = caught.value.violations
        assert (violation.pointer, violation.code) == ("/embedding/dimensions", "not_supported")
        assert says in violation.reason

    def test_another_storage_is_refused_with_the_valid_ones(self) -> None:
        with pytest.raises(Invalid) as caught:
            _contract(storage="float8")
        assert caught.value.violations[0].pointer == "/embedding/storage"
        assert "vector, halfvec or bit" in caught.value.violations[0].reason


class TestValidation:
    @pytest.mark.parametrize("number", [65505, -65505.0, 1e30])
    def test_a_number_beyond_the_range_is_refused_with_its_place(self, number: float) -> None:
        validator = validator_of(_contract())
        with pytest.raises(ValidationError) as caught:
            validator.validate_python({"k": 1, "_embedding": [0, number, 1]})
        (error,) = caught.value.errors()
        assert error["loc"] == ("_embedding", 1)
        code, reason = TYPES["vector"].explain(validator.fields["_embedding"], error)
        assert code == "out_of_range"
        assert "a number from -65504 to 65504" in reason

    def test_what_rounds_to_zero_has_no_direction(self) -> None:
        with pytest.raises(ValidationError, match="a zero vector once it is stored as halfvec"):
            validator_of(_contract()).validate_python({"k": 1, "_embedding": [1e-9, 0, -2e-8]})
        far = {"k": 1, "_embedding": [1e-9, 0, 6e-8]}
        assert validator_of(_contract()).validate_python(far)["_embedding"] == far["_embedding"]
        assert validator_of(_contract(metric="l2")).validate_python({"k": 1, "_embedding": [0, 0, 0]})
