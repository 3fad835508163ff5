"""Filters on real Postgres select exactly the rows that a plain reading of the same filter selects."""

import uuid
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects.postgresql import JSONB
from tests.support.json_filters import DOCUMENTS, PATHS, member_filters, member_holds
from tests.support.values import CASES

from gristmill.core.database import Database
from gristmill.datasets import ddl
from gristmill.datasets.contract_parser import parse_contract
from gristmill.datasets.types import TYPES
from gristmill.datasets.types.json import dump_json
from gristmill.datasets.where import compile_where
from gristmill.datasets.where_columns import compile_columns
from gristmill.records.columns import to_table

_LIMITS: dict[str, dict[str, Any]] = {
    "integer": {"filterable": True},
    "text": {"max_length": 20, "filterable": True},
    "decimal": {"precision": 6, "scale": 2},
    # Some of the members are declared: what that changes is the speed alone.
    "json": {"members": [{"path": path, "type": kind} for path, kind in PATHS.items() if kind]},
}
# Few and awkward values, so that comparisons hit: quotes, wildcards, prefixes of each other, the ends of the ranges.
_VALUES = {name: list(case.few) for name, case in CASES.items() if case.few} | {"json": DOCUMENTS}
CONTRACT = parse_contract(
    {"name": "rows", "fields": [{"name": name, "type": name, **_LIMITS.get(name, {})} for name in _VALUES]}
)
TABLE = ddl.record_table(CONTRACT)

_TEXT_OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "prefix": str.startswith,
    "starts_with": str.startswith,
    "contains": lambda text, part: part in text,
    "icontains": lambda text, part: part.casefold() in text.casefold(),
}
_COMPARABLE = [name for name in _VALUES if CASES[name].few]
_row = st.fixed_dictionaries({name: st.none() | st.sampled_from(values) for name, values in _VALUES.items()})


def _value(name: str) -> st.SearchStrategy[Any]:
    kind = TYPES[CONTRACT.field(name).type]
    return st.sampled_from(_VALUES[name]).map(kind.to_json)


def _comparisons(name: str) -> st.SearchStrategy[Any]:
    value = _value(name)
    operators: dict[str, st.SearchStrategy[Any]] = {
        "eq": value,
        "ne": value,
        "in": st.lists(value, max_size=3),
        "null": st.booleans(),
    }
    if CASES[name].ordered:
        operators |= {"lt": value, "le": value, "gt": value, "ge": value, "between": st.tuples(value, value).map(list)}
    if name == "text":
        operators |= dict.fromkeys(_TEXT_OPERATORS, value)
    objects = st.dictionaries(st.sampled_from(sorted(operators)), st.none(), min_size=1, max_size=2).flatmap(
        lambda chosen: st.fixed_dictionaries({operator: operators[operator] for operator in chosen})
    )
    return (value | objects).map(lambda condition: {name: condition})


_leaf = st.sampled_from(_COMPARABLE).flatmap(_comparisons) | member_filters("json")
_filter = st.recursive(
    st.just({}) | _leaf,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"and": parts})
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"or": parts})
        | inner.map(lambda part: {"not": part})
        | st.tuples(_leaf, inner).map(lambda pair: {**pair[0], "not": pair[1]})
    ),
    max_leaves=6,
)


def _matches(where: dict[str, Any], row: dict[str, Any]) -> bool | None:
    """The language read plainly: true, false, or None where a null makes it unknown."""
    return _all([_member(name, item, row) for name, item in where.items()])


def _all(parts: list[bool | None]) -> bool | None:
    return False if False in parts else (None if None in parts else True)


def _not(part: bool | None) -> bool | None:
    return None if part is None else not part


def _member(name: str, item: Any, row: dict[str, Any]) -> bool | None:
    if name == "and":
        return _all([_matches(part, row) for part in item])
    if name == "or":
        return _not(_all([_not(_matches(part, row)) for part in item]))
    if name == "not":
        return _not(_matches(item, row))
    operators = item if isinstance(item, dict) else {"eq": item}
    if name.startswith("json"):
        return _all([member_holds(name, operator, value, row["json"]) for operator, value in operators.items()])
    return _all([_compare(name, operator, value, row[name]) for operator, value in operators.items()])


def _compare(name: str, operator: str, value: Any, actual: Any) -> bool | None:
    field = CONTRACT.field(name)

    def parse(text: Any) -> Any:
        return TYPES[field.type].parse(field, text)

    if operator == "null":
        return (actual is None) is value
    if operator == "in" and not value:
        return False
    if actual is None:
        return None
    if operator == "in":
        return actual in [parse(one) for one in value]
    if operator in _TEXT_OPERATORS:
        return _TEXT_OPERATORS[operator](actual, value)
    if operator == "between":
        low, high = map(parse, value)
        return bool(low <= actual <= high)
    other = parse(value)
    answers = {"eq": actual == other, "ne": actual != other, "lt": actual < other, "le": actual <= other,
               "gt": actual > other, "ge": actual >= other}  # fmt: skip
    return bool(answers[operator])


def _check(database: Database, rows: list[dict[str, Any]], filters: list[dict[str, Any]]) -> None:
    with database.engine.connect() as connection, connection.begin() as transaction:
        ddl.create_table(connection, CONTRACT, uuid.uuid4())
        # As Gristmill writes json: the driver's own text of a large number would be another number.
        text = sa.cast(sa.bindparam("json_text", type_=sa.Text()), JSONB)
        stored = [{**row, "_id": n, "_seq": 1, "_ord": n} for n, row in enumerate(rows)]
        for row in stored:
            value = row.pop("json")
            row["json_text"] = None if value is None else dump_json(value)
        connection.execute(sa.insert(TABLE).values(json=text), stored)
        for where in filters:
            query = sa.select(TABLE.c["_id"]).where(compile_where(where, CONTRACT, TABLE)).order_by(TABLE.c["_id"])
            expected = [n for n, row in enumerate(rows) if _matches(where, row) is True]
            assert list(connection.execute(query).scalars()) == expected, where
        transaction.rollback()
    _check_columns(rows, filters)


def _check_columns(rows: list[dict[str, Any]], filters: list[dict[str, Any]]) -> None:
    """The same filters over Arrow columns, which pipelines use, find the same rows."""
    table = to_table(CONTRACT.input_columns, rows)
    for where in filters:
        expected = [_matches(where, row) is True for row in rows]
        assert compile_columns(where, CONTRACT.fields)(table).tolist() == expected, where


def test_every_comparison_with_every_value_selects_what_it_says(database: Database) -> None:
    blank = dict.fromkeys(_VALUES)
    rows: list[dict[str, Any]] = [blank]
    filters: list[dict[str, Any]] = []
    for name, values in _VALUES.items():
        rows += [{**blank, name: value} for value in values]
        filters += [{name: {"null": flag}} for flag in (True, False)]
        if name not in _COMPARABLE:
            continue
        shown = [TYPES[CONTRACT.field(name).type].to_json(value) for value in values]
        operators = ["eq", "ne", "lt", "le", "gt", "ge"] if CASES[name].ordered else ["eq", "ne"]
        operators += list(_TEXT_OPERATORS) if name == "text" else []
        conditions = [{operator: value} for operator in operators for value in shown]
        conditions += [{"in": shown[:2]}, {"in": []}]
        if CASES[name].ordered:
            conditions += [{"between": [low, high]} for low in shown[:3] for high in shown]
        filters += [{name: condition} for condition in conditions]
    _check(database, rows, [*filters, *({"not": where} for where in filters)])


@settings(max_examples=60)
@given(rows=st.lists(_row, min_size=5, max_size=30), filters=st.lists(_filter, min_size=20, max_size=20))
def test_combined_filters_select_what_a_plain_reading_of_them_selects(
    database: Database, rows: list[dict[str, Any]], filters: list[dict[str, Any]]
) -> None:
    _check(database, rows, filters)


def test_the_index_of_a_filterable_field_or_of_a_declared_member_serves_filters(database: Database) -> None:
    with database.transaction() as connection:
        ddl.create_table(connection, CONTRACT, uuid.uuid4())
        connection.exec_driver_sql(
            "INSERT INTO data.rows (text, _seq, _ord)"
            " SELECT md5(n::text)::varchar(20), 1, n FROM generate_series(1, 5000) AS n"
        )
        connection.exec_driver_sql(
            "INSERT INTO data.rows (json, _seq, _ord) SELECT jsonb_build_object("
            "'year', n, 'kind', repeat(md5(n::text), 200), 'ok', n = 1, 'a.b', repeat(md5(n::text), 9)), 2, n"
            " FROM generate_series(1, 5000) AS n"
        )
        connection.exec_driver_sql("ANALYZE data.rows")
        members = [
            {"json.year": 77},
            {"json.year": {"between": [70, 80]}},
            {"json.year": {"in": [1, 2]}},
            {"json.kind": {"starts_with": "abc"}},
            {"json.kind": "x" * 5000},
            {"json.kind": {"lt": "00" * 5000}},
            {r"json.a\.b": "x"},
            {"json.ok": True},
        ]
        for where in (
            {"text": {"prefix": "abc"}},
            {"text": {"starts_with": "abc"}},
            {"integer": {"ge": 5}},
            *members,
        ):
            condition = compile_where(where, CONTRACT, TABLE)
            query = sa.select(TABLE.c["_id"]).where(condition)
            sql = query.compile(connection, compile_kwargs={"literal_binds": True})
            plan = "\n".join(connection.exec_driver_sql(f"EXPLAIN {sql}").scalars())
            assert "rows__f" in plan, plan
