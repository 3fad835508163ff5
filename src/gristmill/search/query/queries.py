"""What to search for: one text, vector, image or stored record, checked against the contract."""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from gristmill.core.errors import Conflict, Invalid, Violation
from gristmill.datasets.contract_parser import Contract
from gristmill.datasets.describe import shorten
from gristmill.datasets.keys import check_key
from gristmill.datasets.types import TYPES
from gristmill.datasets.types.image import MAX_BYTES
from gristmill.embeddings.port import Reads
from gristmill.kit.json_pointer import pointer_to
from gristmill.search.query.statements import Mode

MAX_TEXT = 65_536
# Of the file of an image that is searched by; the same as an image field may hold.
MAX_IMAGE_BYTES = MAX_BYTES
KINDS = ("text", "vector", "image", "like")


@dataclass(frozen=True, slots=True)
class Query:
    """A checked query. pointer: where it stands in the body. vector: as the type of the embedding column has it.
    image: the bytes of a file. like: the canonical values of a key.

    Of mode ``vector`` exactly one of the four is set; of mode ``text`` only text; of mode ``hybrid`` text, and one of
    the others if the vector is not to be the text's.
    """

    pointer: str
    text: str | None = None
    vector: list[float] | str | None = None
    image: bytes | None = None
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
        image=_image(body["image"], f"{pointer}/image", contract, violations)
        if "image" in given and mode != "text"
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
            reason = f"Give exactly one of text, vector, image and like, not {said}"
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
            Violation(f"{pointer}/like", "exactly_one", "Give one of vector, image and like beside the text")
        )
    if mode == "hybrid" and not others and reads(contract) != "text":
        reason = f"{_vectors_of(contract)}: give {possible(contract, texts=False)} beside the text"
        violations.append(Violation(f"{pointer}/vector", "missing", reason, field="vector"))


def _text(
    value: Any, pointer: str, mode: Mode, contract: Contract, violations: list[Violation], given: Sequence[str]
) -> str | None:
    def refuse(code: str, reason: str) -> None:
        violations.append(Violation(pointer, code, reason, field="text"))

    if mode == "vector" and reads(contract) != "text":
        reason = f"{_vectors_of(contract)}, so no embedder reads a text: search by {possible(contract)}"
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


def _vectors_of(contract: Contract) -> str:
    if contract.takes_vectors:
        return f"Clients supply the vectors of {contract.name}"
    return f"The vectors of {contract.name} are made of {reads(contract)}s"


def reads(contract: Contract) -> Reads | None:
    """Return what the vectors of a dataset are made of; None where clients supply them."""
    sources = () if contract.embedding is None else contract.embedding.from_ or ()
    return TYPES[contract.field(sources[0]).type].read_by if sources else None


def possible(contract: Contract, *, texts: bool = True) -> str:
    """Return what the dataset can be searched by in mode vector, as a phrase."""
    made = [] if contract.takes_vectors else [reads(contract) or ""]
    *before, last = [one for one in (*made, "vector", "like") if texts or one != "text"]
    return f"{', '.join(before)} or {last}"


def _image(value: Any, pointer: str, contract: Contract, violations: list[Violation]) -> bytes | None:
    def refuse(code: str, reason: str) -> None:
        violations.append(Violation(pointer, code, reason, field="image"))

    if reads(contract) != "image":
        reason = f"{_vectors_of(contract)}, so no embedder reads an image: search by {possible(contract)}"
        refuse("no_embedder", reason)
    elif not isinstance(value, str):
        refuse("wrong_type", f"{shorten(value)} is not a string of base64")
    elif len(value) > (MAX_IMAGE_BYTES + 2) // 3 * 4:
        refuse("image_too_large", f"The image has more than {MAX_IMAGE_BYTES} bytes")
    else:
        try:
            data = base64.b64decode(value.encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError):
            refuse("not_base64", "The image is not base64 (RFC 4648, standard alphabet, padded)")
            return None
        if len(data) <= MAX_IMAGE_BYTES:
            return data
        refuse("image_too_large", f"The image has more than {MAX_IMAGE_BYTES} bytes")
    return None


def _vector(value: Any, pointer: str, contract: Contract, violations: list[Violation]) -> list[float] | str | None:
    column = contract.embedding_column
    assert column is not None
    kind = TYPES[column.type]
    try:
        vector: list[float] | str = kind.parse(column, value)
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
