"""What to search for: one text, vector or stored record, checked against the contract."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from gristmill.core.errors import Conflict, Invalid, Violation
from gristmill.datasets.contract_parser import Contract
from gristmill.datasets.describe import shorten
from gristmill.datasets.keys import check_key
from gristmill.datasets.types import TYPES
from gristmill.kit.json_pointer import pointer_to
from gristmill.search.query.statements import Mode

MAX_TEXT = 65_536
KINDS = ("text", "vector", "like")


@dataclass(frozen=True, slots=True)
class Query:
    """A checked query. pointer: where it stands in the body. like: the canonical values of a key.

    Of mode ``vector`` exactly one of the three is set; of mode ``text`` only text; of mode ``hybrid`` text, and one of
    the others if the vector is not to be the text's.
    """

    pointer: str
    text: str | None = None
    vector: list[float] | None = None
    like: tuple[Any, ...] | None = None


def check_query(
    body: dict[str, Any], pointer: str, mode: Mode, contract: Contract, violations: list[Violation]
) -> Query:
    """Return the query in ``body``; what is wrong with it is added to ``violations``."""
    given = [name for name in KINDS if body.get(name) is not None]
    _check_choice(given, pointer, mode, contract, violations)
    return Query(
        pointer,
        text=_text(body["text"], f"{pointer}/text", mode, contract, violations, given) if "text" in given else None,
        vector=_vector(body["vector"], f"{pointer}/vector", contract, violations)
        if "vector" in given and mode != "text"
        else None,
        like=_like(body["like"], f"{pointer}/like", contract, violations)
        if "like" in given and mode != "text"
        else None,
    )


def _check_choice(
    given: Sequence[str], pointer: str, mode: Mode, contract: Contract, violations: list[Violation]
) -> None:
    if mode == "vector":
        if len(given) != 1:
            said = " and ".join(given) if given else "none of them"
            reason = f"Give exactly one of text, vector and like, not {said}"
            violations.append(Violation(f"{pointer}/{given[1]}" if given else pointer, "exactly_one", reason))
        return
    if "text" not in given:
        reason = f"A search by words needs text: mode is {mode}"
        violations.append(Violation(f"{pointer}/text", "missing", reason, field="text"))
    others = [name for name in given if name != "text"]
    if mode == "text" and others:
        reason = f"{others[0]} does not apply to the mode text: use hybrid for both"
        violations.append(Violation(f"{pointer}/{others[0]}", "not_applicable", reason, field=others[0]))
    if mode == "hybrid" and len(others) > 1:
        violations.append(
            Violation(f"{pointer}/like", "exactly_one", "Give one of vector and like beside the text, not both")
        )
    if mode == "hybrid" and not others and contract.takes_vectors:
        reason = f"Clients supply the vectors of {contract.name}: give vector or like beside the text"
        violations.append(Violation(f"{pointer}/vector", "missing", reason, field="vector"))


def _text(
    value: Any, pointer: str, mode: Mode, contract: Contract, violations: list[Violation], given: Sequence[str]
) -> str | None:
    def refuse(code: str, reason: str) -> None:
        violations.append(Violation(pointer, code, reason, field="text"))

    if mode == "vector" and contract.takes_vectors:
        reason = f"Clients supply the vectors of {contract.name}, so no embedder reads a text: search by vector or like"
        refuse("no_embedder", f"{reason}, or by words with mode text" if contract.text_search else reason)
    elif not isinstance(value, str):
        refuse("wrong_type", f"{shorten(value)} is not a string")
    elif len(value) > MAX_TEXT:
        refuse("too_long", f"The text has {len(value)} characters, more than {MAX_TEXT}")
    elif mode != "vector" and "\0" in value:
        refuse("nul", "The text has a NUL character, which no stored text has")
    else:
        return value
    return None


def _vector(value: Any, pointer: str, contract: Contract, violations: list[Violation]) -> list[float] | None:
    column = contract.embedding_column
    assert column is not None
    kind = TYPES[column.type]
    try:
        vector: list[float] = kind.parse(column, value)
        return vector
    except ValidationError as error:
        for item in error.errors()[:100]:
            code, reason = kind.explain(column, item)
            violations.append(Violation(pointer + pointer_to(item["loc"]), code, reason, field="vector"))
        return None


def _like(value: Any, pointer: str, contract: Contract, violations: list[Violation]) -> tuple[Any, ...] | None:
    try:
        return check_key(contract, value, pointer)
    except Invalid as error:
        violations.extend(error.violations)
    except Conflict as error:
        violations.append(Violation(pointer, error.code, error.detail, field="like"))
    return None
