"""The rules of what clients send: ``input`` of a contract, and the names that fields are sent by."""

from collections.abc import Iterator

from gristmill.core.errors import Violation
from gristmill.datasets.contract import EMBEDDING_COLUMN, EXTRA_COLUMN, Contract, FieldSpec
from gristmill.datasets.contract_checks import check_field, unknown_field
from gristmill.datasets.describe import shorten

MAX_SENT_NAME = 200
# Members of fields that have no meaning for what is not stored.
_STORED_ONLY = ("computed", "filterable", "members")


def check_input(contract: Contract) -> Iterator[Violation]:
    """Yield what is wrong with what clients send."""
    seen: set[str] = set()
    for index, item in enumerate(contract.input or ()):
        pointer = f"/input/{index}"
        name = item if isinstance(item, str) else item.name
        field = next((field for field in contract.fields if field.name == name), None)
        if name in seen:
            yield Violation(pointer, "duplicate", f"input names {shorten(name)} twice", field=name)
        elif isinstance(item, FieldSpec):
            if field is not None:
                reason = f"{shorten(name)} is a field: give its name alone, or another name to what is not stored"
                yield Violation(f"{pointer}/name", "duplicate", reason, field=name)
            if member := next((name for name in _STORED_ONLY if getattr(item, name)), None):
                reason = f"{shorten(name)} is not stored, so {member} has no meaning"
                yield Violation(f"{pointer}/{member}", "not_applicable", reason, field=name)
            if name == EXTRA_COLUMN and field is None:
                reason = f"{name} is the field that unknown_fields: collect adds"
                yield Violation(f"{pointer}/name", "reserved_name", reason, field=name)
            yield from check_field(item, pointer)
        elif field is None:
            yield unknown_field(pointer, name, contract)
        elif field.computed:
            reason = f"{shorten(name)} is computed, so clients do not send it"
            yield Violation(pointer, "computed_field", reason, field=name)
        seen.add(name)


def check_sent_names(contract: Contract) -> Iterator[Violation]:
    """Yield what is wrong with the names that clients may use in place of those of columns."""
    sent = {column.name for column in contract.input_columns}
    seen: set[str] = set()
    places = [(f"/fields/{index}", field) for index, field in enumerate(contract.fields)]
    places += [(f"/input/{n}", item) for n, item in enumerate(contract.input or ()) if isinstance(item, FieldSpec)]
    for pointer, field in places:
        name = field.sent_as
        if name is None:
            continue
        found: tuple[str, str] | None = None
        if field.name not in sent:
            found = "not_applicable", f"{field.name} is not sent by clients, so sent_as has no meaning"
        elif len(name) > MAX_SENT_NAME or "\0" in name:
            found = "bad_name", f"{shorten(name)} has more than {MAX_SENT_NAME} characters, or a NUL"
        elif name in sent or name in (EXTRA_COLUMN, EMBEDDING_COLUMN):
            found = "duplicate", f"{shorten(name)} is the name of something that clients send"
        elif name in seen:
            found = "duplicate", f"{shorten(name)} is sent_as of an earlier field already"
        if found is not None:
            yield Violation(f"{pointer}/sent_as", *found, field=field.name)
        seen.add(name)
