"""The body of a request for near-duplicates, and the contract of the dataset that it makes."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.contract import Contract, FieldSpec
from gristmill.datasets.contract_checks import check_name, read_structure
from gristmill.datasets.contract_parser import parse_contract
from gristmill.datasets.describe import shorten
from gristmill.datasets.embedding import EmbeddingSpec
from gristmill.kit.timestamps import rfc3339

EXAMPLE = {"threshold": 6, "into": "products_duplicates"}
HAMMING = "hamming"
GROUP, DISTANCE, FIRST_OF = "group", "distance", "of_"
# The largest distance that two vectors can have. Squares of longer vectors are not stored.
_LARGEST = {"cosine": 2.0, "l2": 2e18}


class DuplicatesRequest(BaseModel):
    """Which records are near-duplicates: those whose vectors are at most ``threshold`` apart."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    threshold: float = Field(description="a distance in the metric of the dataset")
    into: str = Field(description="the name of the dataset that is made")
    where: dict[str, Any] | None = Field(None, description="a filter of the records that are compared")


def read_request(body: Any) -> DuplicatesRequest:
    """Return ``body`` (parsed JSON), checked but for what the dataset says. Raises Invalid with every mistake."""
    found = read_structure(DuplicatesRequest, body, "")
    violations = found if isinstance(found, list) else [_into(mistake) for mistake in check_name(found.into)]
    if violations or isinstance(found, list):
        raise Invalid(f"The body is not valid: {violations[0].reason}", violations)
    return found


def check_threshold(embedding: EmbeddingSpec, threshold: float) -> None:
    """Raise Invalid for a threshold that is no distance of the metric. An inner product has distances of any sign."""
    metric, most = str(embedding.metric), _LARGEST.get(embedding.metric)
    if metric == HAMMING:
        most = float(embedding.dimensions or 0)
    if most is not None and not 0 <= threshold <= most:
        reason = f"{shorten(threshold)} is no distance by the metric {metric}: it is from 0 to {most:g}"
        raise Invalid(
            f"The body is not valid: {reason}", [Violation("/threshold", "out_of_range", reason, field="threshold")]
        )


def result_contract(source: Contract, request: DuplicatesRequest) -> Contract:
    """Return the contract of the result: the key of each record, and what it is a duplicate of.

    Raises Invalid where a field of the key is called like one that is added.
    """
    assert source.embedding is not None
    body = {
        "name": request.into,
        "title": f"Near-duplicates in {source.name}"[:200],
        "description": (
            f"Records of {source.name} whose vectors are at most {request.threshold:g} ({source.embedding.metric}) from"
            f" another one's, as asked for at {rfc3339(datetime.now(UTC))}; group: numbered in the order of their first"
            f" records, whose key is in {FIRST_OF}…; distance: to the nearest duplicate"
        ),
        "fields": list(_fields(source)),
        "key": list(source.key),
    }
    try:
        return parse_contract(body)
    except Invalid as error:
        reason = f"The key of {source.name} does not fit a dataset of duplicates: {error.violations[0].reason}"
        raise Invalid(reason, [Violation("", "bad_name", reason)]) from error


def _fields(source: Contract) -> Iterator[dict[str, Any]]:
    for field in source.key_fields:
        yield _plain(field, field.name)
    yield {"name": GROUP, "type": "integer", "required": True, "filterable": True}
    for field in source.key_fields:
        yield _plain(field, FIRST_OF + field.name)
    yield {"name": DISTANCE, "type": "float", "required": True}


def _plain(field: FieldSpec, name: str) -> dict[str, Any]:
    """Return a field of the key as one that holds its values, and makes nothing of them."""
    limits = field.model_dump(mode="json", include={"max_length", "precision", "scale", "unit"}, exclude_none=True)
    return {**limits, "name": name, "type": field.type, "required": True}


def _into(mistake: Violation) -> Violation:
    return Violation("/into", mistake.code, mistake.reason, field="into")
