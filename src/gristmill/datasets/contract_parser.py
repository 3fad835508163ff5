"""Reads a contract that a user wrote: all its rules at once, so that one answer names every mistake."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from gristmill.core.errors import Invalid, Violation
from gristmill.datasets import contract_checks as checks
from gristmill.datasets.alter import alter_contract
from gristmill.datasets.contract import (
    EXTRA_COLUMN,
    EXTRA_FIELD,
    Contract,
    FieldSpec,
    load_contract,
)
from gristmill.datasets.describe import shorten
from gristmill.datasets.embedding import EmbeddingSpec, TextSearchSpec
from gristmill.datasets.embedding_checks import KnownEmbedder, check_embedding, check_sources, complete_embedding
from gristmill.datasets.input_checks import check_input, check_sent_names
from gristmill.datasets.parents.checks import FindContract, check_parents
from gristmill.datasets.pipeline import check_pipeline
from gristmill.datasets.views import check_views
from gristmill.transforms.registry import StepRegistry

__all__ = [
    "Contract",
    "EmbeddingSpec",
    "FieldSpec",
    "KnownEmbedder",
    "alter_contract",
    "load_contract",
    "parse_contract",
]


def parse_contract(
    body: Any,
    embedders: Mapping[str, KnownEmbedder] | None = None,
    default_embedder: str = "static",
    steps: StepRegistry | None = None,
    find: FindContract = lambda _: None,
) -> Contract:
    """Return the contract that ``body`` (parsed JSON) describes, with its defaults filled in.

    embedders: those that are known by their names; None knows no embedder.
    steps: the kinds of steps that a pipeline may have; None knows none.
    find: returns the contracts of the datasets that there are, for parents.
    Raises Invalid with a Violation for every mistake; pointers lead into the contract.
    """
    contract = checks.read_structure(Contract, body, "")
    if isinstance(contract, list):
        raise refuse(contract)
    contract = contract.model_copy(update=_defaults(contract, embedders or {}, default_embedder))
    violations = [*checks.check_contract(contract), *check_input(contract)]
    if not violations:
        # What clients send is known once the names in input are those of fields.
        violations += check_sent_names(contract)
    embedding = contract.embedding
    if embedding is not None:
        violations += check_embedding(contract, embedding, embedders or {})
    if contract.text_search is not None:
        violations += _check_text_search(contract, contract.text_search)
    if not violations:
        # Their rules need fields that are valid.
        whole = load_contract(contract.as_json())
        violations += check_pipeline(whole, steps or StepRegistry())
        violations += check_views(whole, steps or StepRegistry())
        violations += check_parents(whole, find)
    if violations:
        raise refuse(violations)
    # Built anew so that no property cached while checking outlives the copies.
    return Contract.model_validate_json(json.dumps(contract.as_json()))


def _defaults(contract: Contract, embedders: Mapping[str, KnownEmbedder], default: str) -> dict[str, Any]:
    fields = contract.fields
    if contract.unknown_fields == "collect" and not any(field.name == EXTRA_COLUMN for field in fields):
        fields = (*fields, EXTRA_FIELD)
    found: dict[str, Any] = {"fields": tuple(checks.with_defaults(field, contract) for field in fields)}
    if contract.input is not None:
        found["input"] = tuple(
            checks.with_defaults(item, contract) if isinstance(item, FieldSpec) else item for item in contract.input
        )
    if contract.embedding is not None:
        found["embedding"] = complete_embedding(contract, contract.embedding, embedders, default)
    return found


def refuse(violations: list[Violation]) -> Invalid:
    return Invalid(f"The contract is not valid: {violations[0].pointer or '/'}: {violations[0].reason}", violations)


def _check_text_search(contract: Contract, spec: TextSearchSpec) -> Iterator[Violation]:
    yield from check_sources(contract, spec.from_, "/text_search/from", "text", "Searching the words of")
    if spec.language not in checks.LANGUAGES:
        reason = f"{shorten(spec.language)} is no language of text search; they are: {', '.join(checks.LANGUAGES)}"
        yield Violation("/text_search/language", "unknown_value", reason, field="language")
