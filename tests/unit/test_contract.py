"""Contracts: what is refused, where, and with which words; what is filled in."""

from typing import Any

import pytest

from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.contract_parser import KnownEmbedder, load_contract, parse_contract
from gristmill.datasets.ddl import MAX_PLAIN_DIMENSIONS, plain_columns, record_table

EMBEDDERS = {"static": KnownEmbedder(256), "hashing": KnownEmbedder(512)}
READINGS = {
    "name": "readings",
    "fields": [
        {"name": "sensor", "type": "text", "required": True, "max_length": 64},
        {"name": "at", "type": "timestamp", "required": True},
        {"name": "value", "type": "float", "minimum": -90, "maximum": 60, "filterable": True},
        {"name": "note", "type": "text"},
    ],
    "key": ["sensor", "at"],
    "time_field": "at",
    "embedding": {"from": ["note"], "embedder": "static", "metric": "cosine"},
}


def refused(body: Any) -> list[Violation]:
    with pytest.raises(Invalid) as caught:
        parse_contract(body, EMBEDDERS)
    assert caught.value.status == 422
    return caught.value.violations


def one_field(**members: Any) -> dict[str, Any]:
    return {"name": "d", "fields": [{"name": "x", "type": "integer", **members}]}


def embedded(**embedding: Any) -> dict[str, Any]:
    return {**READINGS, "embedding": embedding}


class TestParse:
    def test_a_full_contract_reads_back_as_it_was_written(self) -> None:
        contract = parse_contract(READINGS, EMBEDDERS)
        assert contract.vector_dimensions == 256
        assert [field.name for field in contract.key_fields] == ["sensor", "at"]
        assert not contract.takes_vectors
        assert load_contract(contract.as_json()) == contract
        assert hash(load_contract(contract.as_json())) == hash(contract)

    def test_the_default_embedder_is_filled_in(self) -> None:
        contract = parse_contract({**READINGS, "embedding": {"from": ["note"]}}, EMBEDDERS, "hashing")
        assert contract.embedding is not None
        assert (contract.embedding.embedder, contract.embedding.dimensions) == ("hashing", 512)

    def test_text_in_the_key_gets_a_length_that_fits_an_index(self) -> None:
        body = {"name": "d", "fields": [{"name": "x", "type": "text", "required": True}], "key": ["x"]}
        assert parse_contract(body).field("x").max_length == 255

    def test_vectors_from_clients_need_their_dimensions(self) -> None:
        contract = parse_contract({**READINGS, "embedding": {"dimensions": 3}})
        assert contract.takes_vectors
        assert contract.vector_dimensions == 3

    def test_every_mistake_is_named_in_one_answer(self) -> None:
        body = {
            **READINGS,
            "name": "Readings",
            "fields": [*READINGS["fields"], {"name": "value", "type": "json", "filterable": True}],
            "time_field": "note",
        }
        assert [(violation.pointer, violation.code) for violation in refused(body)] == [
            ("/name", "bad_name"),
            ("/fields/4/name", "duplicate"),
            ("/fields/4/filterable", "not_applicable"),
            ("/time_field", "wrong_type"),
        ]

    @pytest.mark.parametrize(
        ("body", "pointer", "code"),
        [
            (None, "", "wrong_type"),
            ([], "", "wrong_type"),
            ({"fields": []}, "/name", "missing"),
            ({"name": "d"}, "/fields", "missing"),
            ({"name": "d", "fields": []}, "/fields", "missing"),
            ({"name": "d", "fields": {}}, "/fields", "wrong_type"),
            ({"name": "d", "fields": [1]}, "/fields/0", "wrong_type"),
            ({**READINGS, "parents": [{"field": "sensor"}]}, "/parents/0/dataset", "missing"),
            ({**READINGS, "colour": 1}, "/colour", "unknown_member"),
            ({**READINGS, "name": "a" * 49}, "/name", "bad_name"),
            ({**READINGS, "name": "a-b"}, "/name", "bad_name"),
            ({**READINGS, "name": ""}, "/name", "bad_name"),
            ({**READINGS, "name": "a\0"}, "/name", "bad_name"),
            ({**READINGS, "name": 5}, "/name", "wrong_type"),
            (one_field(type="int"), "/fields/0/type", "unknown_value"),
            (one_field(name="_id"), "/fields/0/name", "reserved_name"),
            (one_field(name="not"), "/fields/0/name", "reserved_name"),
            (one_field(name="xmin"), "/fields/0/name", "reserved_name"),
            ({**READINGS, "name": "a__id"}, "/name", "reserved_name"),
            (one_field(name="1x"), "/fields/0/name", "bad_name"),
            (one_field(required="yes"), "/fields/0/required", "wrong_type"),
            (one_field(colour="m"), "/fields/0/colour", "unknown_member"),
            (one_field(**{"m/s": 1}), "/fields/0/m~1s", "unknown_member"),
            (one_field(max_length=5), "/fields/0/max_length", "not_applicable"),
            (one_field(minimum="1"), "/fields/0/minimum", "wrong_type"),
            (one_field(minimum=True), "/fields/0/minimum", "wrong_type"),
            (one_field(maximum=2**63), "/fields/0/maximum", "out_of_range"),
            (one_field(minimum=2, maximum=1), "/fields/0/minimum", "out_of_range"),
            (one_field(minimum=[1]), "/fields/0/minimum", "wrong_type"),
            (one_field(type="text", max_length=0), "/fields/0/max_length", "out_of_range"),
            (one_field(type="text", max_length=10**9), "/fields/0/max_length", "out_of_range"),
            (one_field(type="text", filterable=True, max_length=700), "/fields/0/max_length", "too_long"),
            (one_field(type="decimal", precision=39), "/fields/0/precision", "out_of_range"),
            (one_field(type="decimal", precision=0), "/fields/0/precision", "out_of_range"),
            (one_field(type="decimal", scale=2), "/fields/0/scale", "not_applicable"),
            (one_field(type="decimal", precision=3, scale=4), "/fields/0/scale", "out_of_range"),
            (one_field(type="decimal", minimum=0.5), "/fields/0/minimum", "decimal_from_float"),
            (one_field(type="timestamp", minimum="2026-01-01"), "/fields/0/minimum", "not_a_timestamp"),
            (one_field(type="timestamp", zone="Mars/Base"), "/fields/0/zone", "unknown_zone"),
            (one_field(type="timestamp", zone="../../etc/passwd"), "/fields/0/zone", "unknown_zone"),
            (one_field(type="date", maximum="tomorrow"), "/fields/0/maximum", "not_a_date"),
            (one_field(type="vector"), "/fields/0/dimensions", "missing"),
            (one_field(type="vector", dimensions=0), "/fields/0/dimensions", "out_of_range"),
            (one_field(type="vector", dimensions=2001), "/fields/0/dimensions", "not_supported"),
            (one_field(type="image", max_bytes=10**9), "/fields/0/max_bytes", "out_of_range"),
            ({**one_field(), "key": ["x"]}, "/fields/0/required", "nullable_key"),
            ({**one_field(), "key": ["y"]}, "/key/0", "unknown_field"),
            ({**one_field(required=True), "key": ["x", "x"]}, "/key/1", "duplicate"),
            ({**one_field(required=True), "key": "x"}, "/key", "wrong_type"),
            ({**one_field(type="json", required=True), "key": ["x"]}, "/key/0", "not_a_key_type"),
            ({**one_field(type="float", required=True), "key": ["x"]}, "/key/0", "not_a_key_type"),
            ({**one_field(type="image", required=True), "key": ["x"]}, "/key/0", "not_a_key_type"),
            ({**one_field(type="text", required=True, max_length=650), "key": ["x"]}, "/key", "too_long"),
            ({**one_field(), "time_field": "x"}, "/time_field", "wrong_type"),
            ({**one_field(), "time_field": "y"}, "/time_field", "unknown_field"),
            ({**one_field(), "embedding": {}}, "/embedding/dimensions", "missing"),
            ({**one_field(), "embedding": {"dimensions": 2001}}, "/embedding/dimensions", "not_supported"),
            ({**one_field(), "embedding": {"dimensions": 2, "metric": "dot"}}, "/embedding/metric", "unknown_value"),
            (embedded(dimensions=2, embedder="static"), "/embedding/embedder", "not_applicable"),
            ({**one_field(), "embedding": {"from": []}}, "/embedding/from", "missing"),
            ({**one_field(), "embedding": {"from": ["y"]}}, "/embedding/from/0", "unknown_field"),
            ({**one_field(), "embedding": {"from": ["x"]}}, "/embedding/from/0", "not_supported"),
            ({**READINGS, "embedding": {"from": ["note", "note"]}}, "/embedding/from/1", "duplicate"),
            (embedded(**{"from": ["note"], "embedder": "gpt"}), "/embedding/embedder", "unknown_embedder"),
            (embedded(**{"from": ["note"], "dimensions": 9}), "/embedding/dimensions", "wrong_dimensions"),
        ],
    )  # fmt: skip
    def test_a_bad_contract_is_refused_where_it_is_wrong(self, body: Any, pointer: str, code: str) -> None:
        violations = refused(body)
        assert [(violation.pointer, violation.code) for violation in violations] == [(pointer, code)]
        assert violations[0].reason

    def test_messages_list_what_is_valid(self) -> None:
        assert "static" in refused({**READINGS, "embedding": {"from": ["note"], "embedder": "gpt"}})[0].reason
        assert "sensor, at, value, note" in refused({**READINGS, "time_field": "when"})[0].reason
        assert "text, integer, float" in refused(one_field(type="int"))[0].reason

    def test_more_than_250_fields_are_refused(self) -> None:
        fields = [{"name": f"f{number}", "type": "integer"} for number in range(251)]
        assert [violation.code for violation in refused({"name": "d", "fields": fields})] == ["too_many"]
        assert len(parse_contract({"name": "d", "fields": fields[:250]}).fields) == 250

    def test_a_deeply_nested_body_is_refused(self) -> None:
        body: Any = {}
        for _ in range(5000):
            body = {"a": body}
        assert refused({**one_field(), "time_field": body})


class TestTable:
    def test_system_columns_follow_the_fields(self) -> None:
        table = record_table(parse_contract(READINGS, EMBEDDERS))
        expected = ["sensor", "at", "value", "note", "_id", "_seq", "_ord", "_batch", "_embedding"]
        assert [column.name for column in table.columns] == expected
        assert table.schema == "data"

    def test_equal_contracts_share_one_table_object(self) -> None:
        assert record_table(parse_contract(READINGS, EMBEDDERS)) is record_table(parse_contract(READINGS, EMBEDDERS))

    def test_no_index_covers_a_vector(self) -> None:
        table = record_table(parse_contract(READINGS, EMBEDDERS))
        assert not [index for index in table.indexes if "_embedding" in index.columns]

    @pytest.mark.parametrize(
        ("dimensions", "extra", "plain"),
        [
            (256, [], ["_embedding"]),
            (MAX_PLAIN_DIMENSIONS, [], ["_embedding"]),
            (MAX_PLAIN_DIMENSIONS + 1, [], []),
            (1000, [{"name": "v", "type": "vector", "dimensions": 1500}], ["_embedding"]),
            (1000, [{"name": "v", "type": "vector", "dimensions": 500}], ["_embedding", "v"]),
        ],
    )
    def test_vectors_stay_in_the_row_while_it_fits_a_page(
        self, dimensions: int, extra: list[dict[str, Any]], plain: list[str]
    ) -> None:
        body = {**one_field(), "embedding": {"dimensions": dimensions}}
        body["fields"] = [*body["fields"], *extra]
        assert plain_columns(parse_contract(body)) == plain
