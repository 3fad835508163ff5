"""The body of a search request, read and checked against the contract; one answer names every mistake."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from gristmill.core.errors import Invalid, Violation
from gristmill.core.http.bodies import parse_json
from gristmill.datasets.contract_parser import Contract
from gristmill.datasets.ddl import record_table
from gristmill.datasets.describe import shorten
from gristmill.datasets.where import compile_where
from gristmill.kit.json_pointer import escape_pointer
from gristmill.search.errors import NotSearchable
from gristmill.search.query.members import read_boolean, read_integer, read_number, read_recall_target
from gristmill.search.query.queries import KINDS, Query, check_query
from gristmill.search.query.statements import Mode
from gristmill.search.query.vector import MAX_EF, distance_of

MAX_K = 1000
DEFAULT_K = 10
MAX_QUERIES = 100
MAX_WEIGHT = 1000.0
MODES: tuple[Mode, ...] = ("vector", "text", "hybrid")
MEMBERS = (
    *KINDS, "queries", "k", "where", "mode", "include", "ef", "recall_target", "exact", "max_distance",
    "min_score", "page_size", "page_token", "weights", "explain",
)  # fmt: skip
INCLUDED = ("embedding", "query_vector")
# Of one ranking only; several queries are answered in full.
_PAGING = ("page_size", "page_token")


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A checked search.

    queries: one, or those of the member ``queries`` if ``several``. most: the largest place in the ranking that is a
    hit (a distance, or a negative score), None for any. embedding, query_vector: whether the answer has the vectors of
    the hits, and that of the query. weights: of the ranking by distance and of that by words.
    page_token: not decoded yet.
    """

    mode: Mode
    queries: tuple[Query, ...]
    several: bool
    k: int
    where: sa.ColumnElement[bool] | None
    embedding: bool
    query_vector: bool
    ef: int | None
    recall_target: float | None
    exact: bool
    most: float | None
    page_size: int | None
    page_token: str | None
    weights: tuple[float, float]
    explain: bool


def read_body(raw: bytes) -> Any:
    """Return the parsed body. Raises Malformed where it is not JSON; NaN passes here and is refused with its place."""
    return parse_json(raw, nan=True)


def check_search(body: Any, contract: Contract) -> SearchRequest:
    """Return the search that ``body`` (parsed JSON) asks for. Raises Invalid with a Violation for every mistake.

    Raises NotSearchable where the contract does not provide for the mode.
    """
    if not isinstance(body, dict):
        raise Invalid(
            "The body is not a search", [Violation("", "wrong_type", f"{shorten(body)} is not a JSON object")]
        )
    violations = list(_unknown_members(body, MEMBERS, ""))
    mode = _mode(body, contract, violations)
    _require(mode, contract)
    queries = _queries(body, mode, contract, violations)
    request = SearchRequest(
        mode=mode,
        queries=tuple(queries),
        several=body.get("queries") is not None,
        k=read_integer(body, "k", MAX_K, violations) or DEFAULT_K,
        where=_where(body.get("where"), contract, violations),
        **_include(body.get("include"), contract, violations),
        ef=read_integer(body, "ef", MAX_EF, violations),
        recall_target=read_recall_target(body, mode, violations),
        exact=read_boolean(body, "exact", violations),
        most=_most(body, mode, contract, violations),
        page_size=read_integer(body, "page_size", MAX_K, violations),
        page_token=_page_token(body, violations),
        weights=_weights(body, mode, violations),
        explain=read_boolean(body, "explain", violations),
    )
    if violations:
        raise Invalid(f"The search is not valid: {violations[0].pointer or '/'}: {violations[0].reason}", violations)
    return request


def _unknown_members(body: dict[str, Any], valid: tuple[str, ...], pointer: str) -> list[Violation]:
    return [
        Violation(
            f"{pointer}/{escape_pointer(name[:80])}",
            "unknown_member",
            f"There is no member {shorten(name)} here; the members are: {', '.join(valid)}",
            field=name[:80],
        )
        for name in body
        if name not in valid
    ]


def _mode(body: dict[str, Any], contract: Contract, violations: list[Violation]) -> Mode:
    """Return the mode; if none is given, what the dataset was made for."""
    mode = body.get("mode")
    if mode is None:
        return "text" if contract.embedding is None and contract.text_search is not None else "vector"
    for valid in MODES:
        if mode == valid:
            return valid
    reason = f"{shorten(mode)} is no mode of search; the valid ones are: {', '.join(MODES)}"
    raise Invalid(reason, [*violations, Violation("/mode", "unknown_value", reason, field="mode")])


def _require(mode: Mode, contract: Contract) -> None:
    if mode != "text" and contract.embedding is None:
        reason = f"The dataset {contract.name} has no embedding, so there is no similarity to search by"
        hint = ": search by words, with mode text" if contract.text_search else ": its contract needs embedding"
        raise NotSearchable(reason + hint, [Violation("", "no_embedding", reason)])
    if mode != "vector" and contract.text_search is None:
        reason = (
            f"The contract of {contract.name} has no text_search, so its records cannot be searched by words: create a "
            'dataset with "text_search": {"from": [the text fields]}'
        )
        raise NotSearchable(reason, [Violation("/mode", "no_text_search", reason, field="mode")])


def _queries(body: dict[str, Any], mode: Mode, contract: Contract, violations: list[Violation]) -> list[Query]:
    several = body.get("queries")
    if several is None:
        return [check_query(body, "", mode, contract, violations)]
    for name in (*KINDS, *_PAGING):
        if body.get(name) is not None:
            why = "it belongs into one of them" if name in KINDS else "page one search at a time"
            reason = f"{name} does not go with queries: {why}"
            violations.append(Violation(f"/{name}", "not_applicable", reason, field=name))
    if not isinstance(several, list):
        violations.append(
            Violation("/queries", "wrong_type", f"{shorten(several)} is not a list of queries", field="queries")
        )
        return []
    if not 1 <= len(several) <= MAX_QUERIES:
        reason = f"queries has {len(several)} members and may have 1 to {MAX_QUERIES}"
        violations.append(Violation("/queries", "too_many" if several else "missing", reason, field="queries"))
        return []
    found = []
    for index, one in enumerate(several):
        pointer = f"/queries/{index}"
        if not isinstance(one, dict):
            violations.append(
                Violation(pointer, "wrong_type", f"{shorten(one)} is not an object with {', '.join(KINDS)}")
            )
            continue
        violations.extend(_unknown_members(one, KINDS, pointer))
        found.append(check_query(one, pointer, mode, contract, violations))
    return found


def _most(body: dict[str, Any], mode: Mode, contract: Contract, violations: list[Violation]) -> float | None:
    given = [name for name in ("max_distance", "min_score") if body.get(name) is not None]
    if not given:
        return None
    if len(given) == 2:
        reason = "max_distance and min_score limit the same thing: give one of them"
        violations.append(Violation("/min_score", "exactly_one", reason, field="min_score"))
        return None
    name = given[0]
    value = read_number(body[name], f"/{name}", name, violations)
    if mode == "hybrid" or (mode == "text" and name == "max_distance"):
        why = "its scores only order the hits" if mode == "hybrid" else "there are no distances, give min_score"
        reason = f"{name} does not apply to the mode {mode}: {why}"
        violations.append(Violation(f"/{name}", "not_applicable", reason, field=name))
        return None
    if value is None or name == "max_distance":
        # Only the distance of inner_product, which is the negative product, may be below 0.
        metric = None if contract.embedding is None else contract.embedding.metric
        if value is not None and value < 0 and metric != "inner_product":
            reason = f"{shorten(body[name])} is below 0, and no distance of {metric} is"
            violations.append(Violation(f"/{name}", "out_of_range", reason, field=name))
        return value
    if mode == "text" or contract.embedding is None:
        return -value
    return distance_of(contract.embedding.metric, value, contract.embedding.dimensions or 0)


def _page_token(body: dict[str, Any], violations: list[Violation]) -> str | None:
    token = body.get("page_token")
    if token is None:
        return None
    if not isinstance(token, str):
        violations.append(
            Violation("/page_token", "wrong_type", f"{shorten(token)} is not a string", field="page_token")
        )
    elif body.get("page_size") is None:
        reason = "page_token needs page_size, how many hits each page has"
        violations.append(Violation("/page_size", "missing", reason, field="page_size"))
    else:
        return token
    return None


def _weights(body: dict[str, Any], mode: Mode, violations: list[Violation]) -> tuple[float, float]:
    given = body.get("weights")
    if given is None:
        return 1.0, 1.0
    if mode != "hybrid":
        violations.append(
            Violation("/weights", "not_applicable", f"weights do not apply to the mode {mode}", field="weights")
        )
        return 1.0, 1.0
    if not isinstance(given, dict):
        reason = f'{shorten(given)} is not an object such as {{"vector": 1, "text": 2}}'
        violations.append(Violation("/weights", "wrong_type", reason, field="weights"))
        return 1.0, 1.0
    violations.extend(_unknown_members(given, ("vector", "text"), "/weights"))
    found = []
    for name in ("vector", "text"):
        value = 1.0 if given.get(name) is None else read_number(given[name], f"/weights/{name}", name, violations)
        if value is not None and not 0 <= value <= MAX_WEIGHT:
            reason = f"{shorten(value)} is not from 0 to {MAX_WEIGHT:g}"
            violations.append(Violation(f"/weights/{name}", "out_of_range", reason, field=name))
        found.append(1.0 if value is None else value)
    if not any(found):
        violations.append(Violation("/weights", "out_of_range", "One of the weights must be above 0", field="weights"))
    return found[0], found[1]


def _where(value: Any, contract: Contract, violations: list[Violation]) -> sa.ColumnElement[bool] | None:
    if value is None or value == {}:
        return None
    try:
        return compile_where(value, contract, record_table(contract))
    except Invalid as error:
        violations.extend(error.violations)
        return None


def _include(value: Any, contract: Contract, violations: list[Violation]) -> dict[str, bool]:
    """Return for each thing that may be included whether it is."""
    if value is not None and (not isinstance(value, list) or any(item not in INCLUDED for item in value)):
        reason = f"{shorten(value)} is not a list of what to include: valid are {' and '.join(INCLUDED)}"
        violations.append(Violation("/include", "unknown_value", reason, field="include"))
        value = None
    return {name: name in (value or ()) and contract.embedding is not None for name in INCLUDED}
