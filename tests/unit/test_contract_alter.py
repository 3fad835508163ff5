"""Changes of contracts: only what leaves every stored record valid."""

from typing import Any

import pytest

from gristmill.core.errors import Invalid
from gristmill.datasets.contract_parser import alter_contract, parse_contract

OLD = parse_contract(
    {
        "name": "d",
        "fields": [
            {"name": "id", "type": "integer", "required": True},
            {"name": "n", "type": "integer", "required": True, "minimum": 0, "maximum": 10},
            {"name": "t", "type": "text", "max_length": 100},
            {"name": "m", "type": "decimal", "precision": 6, "scale": 2},
            {"name": "z", "type": "timestamp", "zone": "Europe/Berlin", "minimum": "2020-01-01T00:00:00Z"},
        ],
        "key": ["id"],
    }
)


def alter(name: str, **members: Any) -> dict[str, Any]:
    return {"alter_fields": [{"name": name, **members}]}


@pytest.mark.parametrize(
    ("change", "field", "expected"),
    [
        ({"add_fields": [{"name": "new", "type": "text"}]}, "new", {"type": "text", "required": False}),
        (
            {"add_fields": [{"name": "new", "type": "text", "filterable": True}]},
            "new",
            {"max_length": 255, "filterable": True},
        ),
        (alter("n", required=False), "n", {"required": False, "minimum": 0}),
        (alter("n", minimum=-1, maximum=None), "n", {"minimum": -1, "maximum": None}),
        (alter("n", type="decimal"), "n", {"type": "decimal", "precision": None}),
        (alter("n", type="decimal", precision=19), "n", {"precision": 19, "scale": 0}),
        (alter("t", max_length=200), "t", {"max_length": 200}),
        (alter("t", max_length=None), "t", {"max_length": None}),
        (alter("t", filterable=True), "t", {"filterable": True}),
        (alter("m", precision=7, scale=3), "m", {"precision": 7, "scale": 3}),
        (alter("z", minimum="2019-12-31T00:00:00"), "z", {"minimum": "2019-12-31T00:00:00"}),
        (alter("id", type="decimal"), "id", {"type": "decimal", "required": True}),
    ],
)
def test_a_widening_is_taken(change: Any, field: str, expected: dict[str, Any]) -> None:
    new = alter_contract(OLD, change)
    assert {name: getattr(new.field(field), name) for name in expected} == expected
    assert new.key == OLD.key


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ([], "", "wrong_type"),
        ({}, "", "missing"),
        ({"add_fields": []}, "", "missing"),
        ({"add_fields": {}, "alter_fields": [1]}, "/add_fields", "wrong_type"),
        ({"embedding": {}, "add_fields": [{"name": "a", "type": "text"}]}, "/embedding", "fixed"),
        ({"embedding": {"recall_target": 0.9}}, "/embedding", "fixed"),
        ({"key": ["n"], "add_fields": [{"name": "a", "type": "text"}]}, "/key", "fixed"),
        ({"drop_fields": ["n"], "add_fields": [{"name": "a", "type": "text"}]}, "/drop_fields", "unknown_member"),
        ({"add_fields": [{"name": "n", "type": "text"}]}, "/add_fields/0/name", "duplicate"),
        ({"add_fields": [{"name": "_n", "type": "text"}]}, "/add_fields/0/name", "reserved_name"),
        ({"add_fields": [{"name": "ctid", "type": "text"}]}, "/add_fields/0/name", "reserved_name"),
        ({"add_fields": [{"name": "a", "type": "text", "required": True}]}, "/add_fields/0/required", "not_a_widening"),
        ({"add_fields": [{"name": "a"}]}, "/add_fields/0/type", "missing"),
        ({"alter_fields": [{"minimum": 0}]}, "/alter_fields/0", "wrong_type"),
        (alter("nope", minimum=0), "/alter_fields/0/name", "unknown_field"),
        (alter("n", minimum=1), "/alter_fields/0/minimum", "not_a_widening"),
        (alter("n", maximum=9), "/alter_fields/0/maximum", "not_a_widening"),
        (alter("id", minimum=0), "/alter_fields/0/minimum", "not_a_widening"),
        (alter("id", required=False), "/alter_fields/0/required", "not_a_widening"),
        (alter("t", required=True), "/alter_fields/0/required", "not_a_widening"),
        (alter("t", max_length=99), "/alter_fields/0/max_length", "not_a_widening"),
        (alter("t", type="integer", max_length=None), "/alter_fields/0/type", "not_a_widening"),
        (alter("n", type="float"), "/alter_fields/0/type", "not_a_widening"),
        (alter("n", type="decimal", precision=18), "/alter_fields/0/precision", "not_a_widening"),
        (alter("m", precision=6, scale=3), "/alter_fields/0/precision", "not_a_widening"),
        (alter("z", zone="UTC"), "/alter_fields/0/zone", "fixed"),
        (alter("z", minimum="2021-01-01T00:00:00Z"), "/alter_fields/0/minimum", "not_a_widening"),
        (alter("n", colour=1), "/alter_fields/0/colour", "unknown_member"),
        (
            {"alter_fields": [{"name": "n", "minimum": -1}, {"name": "n", "maximum": 11}]},
            "/alter_fields/1/name",
            "duplicate",
        ),
    ],
)
def test_anything_else_is_refused_where_it_is_wrong(change: Any, pointer: str, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        alter_contract(OLD, change)
    assert [(place.pointer, place.code) for place in caught.value.violations] == [(pointer, code)]


def test_a_change_that_changes_nothing_is_refused() -> None:
    with pytest.raises(Invalid, match="changes nothing"):
        alter_contract(OLD, alter("t", max_length=100))


def test_a_filterable_text_must_fit_an_index() -> None:
    with pytest.raises(Invalid, match="filterable"):
        alter_contract(OLD, alter("t", filterable=True, max_length=1000))


SEARCHED = parse_contract(
    {
        "name": "searched",
        "fields": [{"name": "id", "type": "integer", "required": True}],
        "key": ["id"],
        "embedding": {"dimensions": 3, "metric": "l2"},
    }
)


class TestEmbedding:
    """What searches are told can be changed; what the vectors are cannot."""

    def test_the_target_and_what_is_kept(self) -> None:
        new = alter_contract(SEARCHED, {"embedding": {"recall_target": 0.95, "keep_queries": True}})
        assert new.embedding is not None
        assert (new.embedding.recall_target, new.embedding.keep_queries) == (0.95, True)
        assert (new.embedding.dimensions, new.embedding.metric) == (3, "l2")
        again = alter_contract(new, {"embedding": {"recall_target": None, "keep_queries": None}})
        assert again == SEARCHED

    @pytest.mark.parametrize(
        ("embedding", "pointer", "code"),
        [
            ({"recall_target": 2}, "/embedding/recall_target", "out_of_range"),
            ({"recall_target": 0.5}, "/embedding/recall_target", "out_of_range"),
            ({"recall_target": "high"}, "/embedding/recall_target", "wrong_type"),
            ({"recall_target": True}, "/embedding/recall_target", "wrong_type"),
            ({"recall_target": float("nan")}, "/embedding/recall_target", "out_of_range"),
            ({"keep_queries": 1}, "/embedding/keep_queries", "wrong_type"),
            ({"dimensions": 4}, "/embedding/dimensions", "fixed"),
            ({"metric": "cosine", "recall_target": 0.9}, "/embedding/metric", "fixed"),
            ({"colour": 4}, "/embedding/colour", "fixed"),
            ({}, "/embedding", "wrong_type"),
            (0.9, "/embedding", "wrong_type"),
            (None, "/embedding", "wrong_type"),
        ],
    )
    def test_what_is_refused(self, embedding: Any, pointer: str, code: str) -> None:
        with pytest.raises(Invalid) as refused:
            alter_contract(SEARCHED, {"embedding": embedding})
        assert (refused.value.violations[0].pointer, refused.value.violations[0].code) == (pointer, code)

    @pytest.mark.parametrize("target", [2, 0.5, "high", float("nan"), True])
    def test_a_new_contract_is_as_strict(self, target: Any) -> None:
        body = {**SEARCHED.as_json(), "embedding": {"dimensions": 3, "recall_target": target}}
        with pytest.raises(Invalid) as refused:
            parse_contract(body)
        assert [violation.pointer for violation in refused.value.violations] == ["/embedding/recall_target"]
