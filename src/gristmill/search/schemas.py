"""The body of a search request, read and checked against the contract; one answer names every mistake."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError
from pydantic_core import SchemaValidator, from_json

from gristmill.core.errors import Conflict, Invalid, Malformed, Place
from gristmill.datasets.contract import Contract
from gristmill.datasets.describe import explain, shorten
from gristmill.datasets.model import EMBEDDING_COLUMN, FieldSpec
from gristmill.datasets.validation import embedding_schema
from gristmill.datasets.where import compile_where
from gristmill.records.keys import check_key
from gristmill.records.read import RecordShape
from gristmill.search.errors import NotSearchable
from gristmill.search.vector import MAX_EF

MAX_K = 1000
DEFAULT_K = 10
MAX_TEXT = 65_536
MEMBERS = ("text", "vector", "like", "k", "where", "mode", "include", "ef")
MODES = ("vector",)


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A checked search; exactly one of text, vector and like is set. like: the canonical values of a key."""

    text: str | None
    vector: list[float] | None
    like: tuple[Any, ...] | None
    k: int
    where: sa.ColumnElement[bool] | None
    embedding: bool
    ef: int | None


def read_body(raw: bytes) -> Any:
    """Return the parsed body. Raises Malformed where it is not JSON; NaN passes here and is refused with its place."""
    try:
        return from_json(raw)
    except ValueError as error:
        reason = f"The body is not JSON: {error}"
        raise Malformed(reason, [Place("", "malformed", reason)]) from error


def check_search(body: Any, contract: Contract) -> SearchRequest:
    """Return the search that ``body`` (parsed JSON) asks for. Raises Invalid with a Place for every mistake."""
    if contract.embedding is None:
        reason = f"The dataset {contract.name} has no embedding, so there is no similarity to search by"
        raise NotSearchable(reason, [Place("", "no_embedding", reason)])
    if not isinstance(body, dict):
        raise Invalid("The body is not a search", [Place("", "wrong_type", f"{shorten(body)} is not a JSON object")])
    places: list[Place] = []
    for name in body:
        if name not in MEMBERS:
            reason = f"There is no member {shorten(name)} here; the members are: {', '.join(MEMBERS)}"
            places.append(Place(f"/{_escape(name)}", "unknown_member", reason, field=name[:80]))
    _check_mode(body, places)
    given = [name for name in ("text", "vector", "like") if body.get(name) is not None]
    if len(given) != 1:
        said = " and ".join(given) if given else "none of them"
        reason = f"Give exactly one of text, vector and like, not {said}"
        places.append(Place(f"/{given[1]}" if given else "", "exactly_one", reason))
    request = SearchRequest(
        text=_text(body["text"], contract, places) if "text" in given else None,
        vector=_vector(body["vector"], contract, places) if "vector" in given else None,
        like=_like(body["like"], contract, places) if "like" in given else None,
        k=_integer(body, "k", MAX_K, DEFAULT_K, places) or DEFAULT_K,
        where=_where(body.get("where"), contract, places),
        embedding=_include(body.get("include"), places),
        ef=_integer(body, "ef", MAX_EF, None, places),
    )
    if places:
        raise Invalid(f"The search is not valid: {places[0].pointer or '/'}: {places[0].reason}", places)
    return request


def _check_mode(body: dict[str, Any], places: list[Place]) -> None:
    mode = body.get("mode")
    if mode is not None and mode not in MODES:
        later = ": not supported yet" if mode in ("text", "hybrid") else ""
        reason = f"{shorten(mode)} is no mode of search{later}; the valid ones are: {', '.join(MODES)}"
        places.append(Place("/mode", "unknown_value", reason, field="mode"))


def _text(value: Any, contract: Contract, places: list[Place]) -> str | None:
    assert contract.embedding is not None
    if contract.embedding.from_ is None:
        reason = f"Clients supply the vectors of {contract.name}, so no embedder reads a text: search by vector or like"
        places.append(Place("/text", "no_embedder", reason, field="text"))
    elif not isinstance(value, str):
        places.append(Place("/text", "wrong_type", f"{shorten(value)} is not a string", field="text"))
    elif len(value) > MAX_TEXT:
        reason = f"The text has {len(value)} characters, more than {MAX_TEXT}"
        places.append(Place("/text", "too_long", reason, field="text"))
    else:
        return value
    return None


def _vector(value: Any, contract: Contract, places: list[Place]) -> list[float] | None:
    assert contract.embedding is not None
    dimensions = contract.vector_dimensions or 0
    field = FieldSpec(name=EMBEDDING_COLUMN, type="vector", dimensions=dimensions)
    try:
        vector: list[float] = _vector_validator(dimensions, contract.embedding.metric).validate_python(value)
        return vector
    except ValidationError as error:
        for item in error.errors()[:100]:
            code, reason = explain(field, item)
            path = "".join(f"/{step}" for step in item["loc"])
            places.append(Place(f"/vector{path}", code, reason, field="vector"))
        return None


@lru_cache(maxsize=256)
def _vector_validator(dimensions: int, metric: str) -> SchemaValidator:
    return SchemaValidator(embedding_schema(dimensions, metric))


def _like(value: Any, contract: Contract, places: list[Place]) -> tuple[Any, ...] | None:
    try:
        return check_key(contract, value, "/like")
    except Invalid as error:
        places.extend(error.places)
    except Conflict as error:
        places.append(Place("/like", error.code, error.detail, field="like"))
    return None


def _integer(body: dict[str, Any], name: str, high: int, default: int | None, places: list[Place]) -> int | None:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        places.append(Place(f"/{name}", "wrong_type", f"{shorten(value)} is not an integer", field=name))
    elif not 1 <= value <= high:
        places.append(Place(f"/{name}", "out_of_range", f"{shorten(value)} is not from 1 to {high}", field=name))
    else:
        return value
    return default


def _where(value: Any, contract: Contract, places: list[Place]) -> sa.ColumnElement[bool] | None:
    if value is None or value == {}:
        return None
    try:
        return compile_where(value, contract, RecordShape(contract).table)
    except Invalid as error:
        places.extend(error.places)
        return None


def _include(value: Any, places: list[Place]) -> bool:
    if value is None:
        return False
    if not isinstance(value, list) or any(item != "embedding" for item in value):
        reason = f"{shorten(value)} is not a list of what to include: the only valid one is embedding"
        places.append(Place("/include", "unknown_value", reason, field="include"))
        return False
    return bool(value)


def _escape(name: str) -> str:
    """Return ``name`` as a step of a JSON pointer (RFC 6901), cut to a length fit for a message."""
    return name[:80].replace("~", "~0").replace("/", "~1")
