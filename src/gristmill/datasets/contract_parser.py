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
    EmbeddingSpec,
    FieldSpec,
    TextSearchSpec,
    load_contract,
)
from gristmill.datasets.describe import shorten
from gristmill.datasets.parents.checks import FindContract, check_parents
from gristmill.datasets.pipeline import check_pipeline
from gristmill.datasets.types import TYPES
from gristmill.datasets.views import check_views
from gristmill.transforms.registry import StepRegistry

__all__ = ["Contract", "EmbeddingSpec", "FieldSpec", "alter_contract", "load_contract", "parse_contract"]


def parse_contract(
    body: Any,
    embedders: Mapping[str, int] | None = None,
    default_embedder: str = "static",
    steps: StepRegistry | None = None,
    find: FindContract = lambda _: None,
) -> Contract:
    """Return the contract that ``body`` (parsed JSON) describes, with its defaults filled in.

    embedders: the dimensions of each known embedder by its name; None knows no embedder.
    steps: the kinds of steps that a pipeline may have; None knows none.
    find: returns the contracts of the datasets that there are, for parents.
    Raises Invalid with a Violation for every mistake; pointers lead into the contract.
    """
    contract = checks.read_structure(Contract, body, "")
    if isinstance(contract, list):
        raise refuse(contract)
    contract = contract.model_copy(update=_defaults(contract))
    violations = list(checks.check_contract(contract))
    embedding = contract.embedding
    if embedding is not None:
        checked = _check_embedding(contract, embedding, embedders or {}, default_embedder)
        if isinstance(checked, list):
            violations += checked
        else:
            contract = contract.model_copy(update={"embedding": checked})
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


def _defaults(contract: Contract) -> dict[str, Any]:
    fields = contract.fields
    if contract.unknown_fields == "collect" and not any(field.name == EXTRA_COLUMN for field in fields):
        fields = (*fields, EXTRA_FIELD)
    found: dict[str, Any] = {"fields": tuple(checks.with_defaults(field, contract) for field in fields)}
    if contract.input is not None:
        found["input"] = tuple(
            checks.with_defaults(item, contract) if isinstance(item, FieldSpec) else item for item in contract.input
        )
    return found


def refuse(violations: list[Violation]) -> Invalid:
    return Invalid(f"The contract is not valid: {violations[0].pointer or '/'}: {violations[0].reason}", violations)


def _check_embedding(
    contract: Contract, embedding: EmbeddingSpec, embedders: Mapping[str, int], default: str
) -> EmbeddingSpec | list[Violation]:
    """Return the embedding with embedder and dimensions filled in, or what is wrong with it."""
    where = "/embedding"
    if embedding.from_ is None:
        column = contract.embedding_column
        assert column is not None
        violations = [
            Violation(f"{where}/{member}", code, reason, field=member)
            for member, code, reason in TYPES[column.type].check(column)
        ]
        if embedding.embedder is not None:
            reason = "An embedder needs from, the list of text fields that it reads"
            violations.append(Violation(f"{where}/embedder", "not_applicable", reason, field="embedder"))
        return violations or embedding
    violations = list(_check_sources(contract, embedding.from_, f"{where}/from", "Embedding"))
    name = embedding.embedder or default
    if name not in embedders:
        valid = ", ".join(sorted(embedders)) or "none is installed"
        reason = f"There is no embedder {shorten(name)}; the embedders are: {valid}"
        return [*violations, Violation(f"{where}/embedder", "unknown_embedder", reason, field="embedder")]
    if embedding.dimensions not in (None, embedders[name]):
        reason = f"The embedder {name} makes vectors of {embedders[name]} dimensions, not {embedding.dimensions}"
        violations.append(Violation(f"{where}/dimensions", "wrong_dimensions", reason, field="dimensions"))
    return violations or embedding.model_copy(update={"embedder": name, "dimensions": embedders[name]})


def _check_text_search(contract: Contract, spec: TextSearchSpec) -> Iterator[Violation]:
    yield from _check_sources(contract, spec.from_, "/text_search/from", "Searching the words of")
    if spec.language not in checks.LANGUAGES:
        reason = f"{shorten(spec.language)} is no language of text search; they are: {', '.join(checks.LANGUAGES)}"
        yield Violation("/text_search/language", "unknown_value", reason, field="language")


def _check_sources(contract: Contract, names: tuple[str, ...], pointer: str, purpose: str) -> Iterator[Violation]:
    if not names:
        yield Violation(pointer, "missing", "from must name at least one text field", field="from")
    types = {field.name: field.type for field in contract.fields}
    for index, name in enumerate(names):
        where = f"{pointer}/{index}"
        if name in names[:index]:
            yield Violation(where, "duplicate", f"from names {shorten(name)} twice", field=name)
        elif name not in types:
            yield checks.unknown_field(where, name, contract)
        elif not TYPES[types[name]].embeddable:
            reason = f"{purpose} a field of type {types[name]} is not supported: {name} is no text"
            yield Violation(where, "not_supported", reason, field=name)
