"""Changes of a contract: new optional fields, wider limits, another pipeline: every stored record stays valid."""

from collections.abc import Iterator
from typing import Any, get_args

from gristmill.core.errors import Invalid, Violation
from gristmill.datasets import contract
from gristmill.datasets import contract_checks as checks
from gristmill.datasets.annotation_checks import check_texts, enum_narrowed
from gristmill.datasets.contract import EXTRA_COLUMN, EXTRA_FIELD, Contract, FieldSpec, UnknownFields
from gristmill.datasets.describe import shorten
from gristmill.datasets.embedding_checks import check_target
from gristmill.datasets.input_checks import check_input, check_sent_names
from gristmill.datasets.parents.checks import FindContract, check_parents
from gristmill.datasets.pipeline import check_pipeline, without_statistics
from gristmill.datasets.retention_period import RULE as KEEP_RULE
from gristmill.datasets.types import TYPES
from gristmill.datasets.views import check_views
from gristmill.transforms.registry import StepRegistry

_CHANGEABLE = (
    "type", "required", "max_length", "minimum", "maximum", "precision", "scale", "max_bytes", "filterable",
    "title", "description", "unit", "enum", "default", "members", "sent_as",
)  # fmt: skip
# Members of the contract that are texts, or null.
_TEXTS = {"title": "a text", "description": "a text", "keep": KEEP_RULE}
# What records become on their way in: of those that come from now on.
_WAY = ("input", "pipeline")
_UNKNOWN_FIELDS = get_args(UnknownFields)
_MEMBERS = ("add_fields", "alter_fields", *_WAY, "views", "parents", "embedding", "unknown_fields", *_TEXTS)
_FIXED = ("name", "key", "time_field", "text_search")
# Of an embedding: how records are searched. What their vectors are is fixed.
_OF_SEARCHES = ("recall_target", "keep_queries")


def alter_contract(
    old: Contract, change: Any, steps: StepRegistry | None = None, find: FindContract = lambda _: None
) -> Contract:
    """Return ``old`` changed by ``change``: ``{"add_fields": [field, …], "alter_fields": [{"name": …, limits}, …]}``.

    ``pipeline``, ``input``, ``views``, ``parents`` and ``unknown_fields`` take the place of what the contract has;
    ``collect`` adds the field ``_extra``, which stays when it is taken back. ``{"keep": "90d"}`` sets how long records
    are kept, null lets them stay; ``title`` and ``description`` are set and removed likewise. A limit given as null is
    lifted. ``embedding`` takes what searches are told: ``recall_target`` and ``keep_queries``, null for the default.
    steps: the kinds of steps that the pipeline may have. find: returns the contracts of the datasets that there are.
    Raises Invalid with a Violation for every part that is not a widening.
    """
    violations = [*_check_members(change), *_check_embedding(old, change)]
    if violations:
        raise _refuse(violations)
    added: list[FieldSpec] = []
    for index, body in enumerate(change.get("add_fields", [])):
        field = checks.read_field(body, f"/add_fields/{index}")
        if isinstance(field, list):
            violations += field
            continue
        violations += _check_added(old, added, field, f"/add_fields/{index}", "pipeline" in change)
        added.append(field)
    altered: dict[str, FieldSpec] = {}
    for index, body in enumerate(change.get("alter_fields", [])):
        result = _alter_field(old, altered, body, f"/alter_fields/{index}")
        if isinstance(result, list):
            violations += result
        else:
            altered[result.name] = result
    fields = (*(altered.get(field.name, field) for field in old.fields), *added)
    # A default such as a filterable text's max_length is filled in as it is at creation.
    draft = old.model_copy(update={"fields": fields})
    fields = (*fields[: len(old.fields)], *(checks.with_defaults(field, draft) for field in added))
    unknown_fields = change.get("unknown_fields", old.unknown_fields)
    if unknown_fields == "collect" and not old.has_field(EXTRA_COLUMN):
        fields = (*fields, EXTRA_FIELD)
    body = {
        **old.as_json(),
        "unknown_fields": unknown_fields,
        "fields": [f.model_dump(mode="json", exclude_none=True) for f in fields],
        **{member: change.get(member, getattr(old, member)) for member in _TEXTS},
        **({"embedding": _embedding(old, change["embedding"])} if "embedding" in change else {}),
        "input": _input(old, added),
        **{member: change[member] for member in _WAY if member in change},
        **{member: change[member] for member in ("views", "parents") if member in change},
        **({"pipeline": _with_statistics(old, change["pipeline"])} if change.get("pipeline") else {}),
    }
    new = checks.read_structure(Contract, body, "")
    if isinstance(new, list):
        raise _refuse([*violations, *new])
    if new.input is not None:
        filled = (checks.with_defaults(item, draft) if isinstance(item, FieldSpec) else item for item in new.input)
        new = contract.load_contract(new.model_copy(update={"input": tuple(filled)}).as_json())
    if not violations:
        violations += check_input(new)
        violations += checks.check_size(new)
        violations += checks.check_indexed(new)
        violations += checks.check_keep(new)
        violations += check_texts(new, "", "")
        violations += check_target(new.embedding) if new.embedding is not None else ()
    if not violations:
        # Their rules need fields that are valid.
        violations += check_sent_names(new)
        violations += check_pipeline(new, steps or StepRegistry())
        violations += check_views(new, steps or StepRegistry())
        violations += check_parents(new, find)
    if violations:
        raise _refuse(violations)
    if new == old:
        raise Invalid("The change changes nothing: the contract says all of this already")
    return new


def _input(old: Contract, added: list[FieldSpec]) -> list[Any] | None:
    """Return what clients send after the change: fields that are added are sent."""
    sent = [field.name for field in added if not field.computed]
    return None if old.input is None else [*old.as_json()["input"], *sent]


def _embedding(old: Contract, change: dict[str, Any]) -> dict[str, Any]:
    """Return the embedding with what the change says of it; null is the default."""
    body = {**old.as_json()["embedding"], **change}
    return {name: value for name, value in body.items() if value is not None or name not in change}


def _with_statistics(old: Contract, pipeline: list[Any]) -> list[Any]:
    """Return the steps, those with the statistics that a fit has written which are otherwise as they were."""
    known = [step.as_json() for step in old.pipeline if "fitted" in step.as_json()]
    plain = [without_statistics(step) for step in known]
    return [known[plain.index(step)] if step in plain else step for step in pipeline]


def _refuse(violations: list[Violation]) -> Invalid:
    return Invalid(f"The change is not valid: {violations[0].pointer or '/'}: {violations[0].reason}", violations)


def _check_members(change: Any) -> Iterator[Violation]:
    if not isinstance(change, dict):
        yield Violation("", "wrong_type", f"{shorten(change)} is not a JSON object")
        return
    for name, value in change.items():
        if name in _FIXED:
            reason = f"{name} cannot be changed: create another dataset and submit the records to it"
            yield Violation(f"/{name}", "fixed", reason, field=name)
        elif name not in _MEMBERS:
            reason = f"{shorten(name)} is none of: {', '.join(_MEMBERS)}"
            yield Violation(f"/{name[:80]}", "unknown_member", reason)
        elif name == "unknown_fields":
            if value not in _UNKNOWN_FIELDS:
                reason = f"{shorten(value)} is not one of: {', '.join(_UNKNOWN_FIELDS)}"
                yield Violation(f"/{name}", "unknown_value", reason, field=name)
        elif name in _TEXTS:
            if value is not None and not isinstance(value, str):
                reason = f"{shorten(value)}: {name} is {_TEXTS[name]}, or null"
                yield Violation(f"/{name}", "wrong_type", reason, field=name)
        elif name == "views":
            if not isinstance(value, dict):
                reason = f"views takes an object of names and steps, not {shorten(value)}"
                yield Violation("/views", "wrong_type", reason, field=name)
        elif name != "embedding" and not isinstance(value, list) and not (name == "input" and value is None):
            yield Violation(f"/{name}", "wrong_type", f"{name} takes a list, not {shorten(value)}")
    others = {*_MEMBERS} - {"add_fields", "alter_fields"}
    if not change.get("add_fields") and not change.get("alter_fields") and not others & change.keys():
        yield Violation("", "missing", f"There is nothing to change: give one of {', '.join(_MEMBERS)}")


def _check_embedding(old: Contract, change: Any) -> Iterator[Violation]:
    if not isinstance(change, dict) or "embedding" not in change:
        return
    body = change["embedding"]
    if old.embedding is None:
        reason = "The dataset has no embedding, and it cannot be added: create another dataset"
        yield Violation("/embedding", "fixed", reason, field="embedding")
    elif not isinstance(body, dict) or not body:
        reason = f"{shorten(body)} is not an object with {' or '.join(_OF_SEARCHES)}"
        yield Violation("/embedding", "wrong_type", reason, field="embedding")
    else:
        for name in body:
            if name not in _OF_SEARCHES:
                reason = f"{shorten(name)} of an embedding cannot be changed; these can: {', '.join(_OF_SEARCHES)}"
                yield Violation(f"/embedding/{name[:80]}", "fixed", reason, field=name[:80])


def _check_added(
    old: Contract, added: list[FieldSpec], field: FieldSpec, pointer: str, filled: bool
) -> Iterator[Violation]:
    """filled: the change has a pipeline, which may fill a computed field."""
    names = {other.name for other in (*old.fields, *old.input_columns, *added)}
    if field.name in names:
        reason = f"The name {shorten(field.name)} is used by another field already"
        yield Violation(f"{pointer}/name", "duplicate", reason, field=field.name)
    elif field.name == EXTRA_COLUMN:
        reason = f"{field.name} is the field that unknown_fields: collect adds: change that instead"
        yield Violation(f"{pointer}/name", "reserved_name", reason, field=field.name)
    if field.computed and not filled:
        reason = "A computed field needs a step that fills it: give the pipeline with it"
        yield Violation(f"{pointer}/computed", "not_filled", reason, field=field.name)
    if field.required:
        reason = "A field that is added must be optional, as the records that are there have no value for it"
        yield Violation(f"{pointer}/required", "not_a_widening", reason, field=field.name)


def _alter_field(old: Contract, altered: dict[str, FieldSpec], body: Any, pointer: str) -> FieldSpec | list[Violation]:
    if not isinstance(body, dict) or not isinstance(body.get("name"), str):
        return [Violation(pointer, "wrong_type", f"{shorten(body)} is not an object with the name of a field")]
    name = body["name"]
    if not old.has_field(name):
        return [checks.unknown_field(f"{pointer}/name", name, old)]
    if name in altered:
        return [Violation(f"{pointer}/name", "duplicate", f"The change names {shorten(name)} twice", field=name)]
    before = old.field(name)
    violations = []
    for member in body:
        if member in contract.FieldSpec.model_fields and member not in ("name", *_CHANGEABLE):
            reason = f"{member} of a field cannot be changed"
            violations.append(Violation(f"{pointer}/{member}", "fixed", reason, field=name))
    if violations:
        return violations
    merged = {**before.model_dump(mode="json", exclude_none=True), **body}
    for member, nothing in (("required", False), ("filterable", False), ("members", [])):
        if merged.get(member, nothing) is None:
            merged[member] = nothing
    after = checks.read_field({key: value for key, value in merged.items() if value is not None}, pointer)
    if isinstance(after, list):
        return after
    if before.type != after.type:
        after = checks.with_defaults(after, old)
    return list(_check_widening(old, before, after, pointer)) or after


def _check_widening(old: Contract, before: FieldSpec, after: FieldSpec, pointer: str) -> Iterator[Violation]:
    def violation(member: str, reason: str) -> Violation:
        return Violation(f"{pointer}/{member}", "not_a_widening", reason, field=before.name)

    if after.type != before.type and after.type not in TYPES[before.type].becomes:
        valid = ", ".join(f"{name} can become {other}" for name, kind in TYPES.items() for other in kind.becomes)
        yield violation("type", f"{before.type} cannot become {after.type}: only {valid}")
        return
    if after.required and not before.required:
        yield violation("required", "An optional field cannot become required: records that are there may lack it")
    if before.required and not after.required and before.name in old.key:
        yield violation("required", "A field of the key stays required")
    for member, reason in TYPES[after.type].check_widening(before, after):
        yield violation(member, reason)
    narrowed = enum_narrowed(before, after)
    if narrowed is not None:
        yield violation("enum", narrowed)
    yield from _check_bounds(before, after, pointer)


def _check_bounds(before: FieldSpec, after: FieldSpec, pointer: str) -> Iterator[Violation]:
    for member in ("minimum", "maximum"):
        was, now = getattr(before, member), getattr(after, member)
        if now is None or now == was:
            continue
        if was is not None:
            low, high = TYPES[after.type].bound(after, was), TYPES[after.type].bound(after, now)
            if (high <= low) if member == "minimum" else (high >= low):
                continue
        reason = f"{member} {shorten(now)} is narrower than {'none' if was is None else shorten(was)}"
        yield Violation(f"{pointer}/{member}", "not_a_widening", reason, field=before.name)
