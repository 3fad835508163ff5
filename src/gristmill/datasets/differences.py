"""In what a contract differs from that of a dataset, member by member."""

import json
from collections.abc import Iterator
from typing import Any

from gristmill.core.errors import MAX_LISTED, Violation
from gristmill.datasets.contract import Contract
from gristmill.datasets.describe import shorten
from gristmill.datasets.errors import ContractDiffers
from gristmill.datasets.pipeline import without_statistics

Json = dict[str, Any]


def refuse_other(given: Contract, present: Contract) -> None:
    """Raise ContractDiffers unless both say the same; the order of their fields does not count."""
    found = list(_differences(given.as_json(), present.as_json()))
    if found:
        listed = [violation.as_json() for violation in found[:MAX_LISTED]]
        detail = f"There is a dataset {present.name} already, and its contract is another one: {found[0].reason}"
        raise ContractDiffers(detail, errors=listed, errors_total=len(found))


def _differences(given: Json, present: Json) -> Iterator[Violation]:
    """Yield what differs. Pointers lead into ``given``."""
    fields = {field["name"]: field for field in present["fields"]}
    for index, field in enumerate(given["fields"]):
        other = fields.pop(field["name"], None)
        if other is None:
            reason = f"the dataset has no field {field['name']}"
            yield Violation(f"/fields/{index}", "differs", reason, field=field["name"])
        else:
            yield from _members(field, other, f"/fields/{index}", f"{field['name']}: ", field["name"])
    for name in fields:
        yield Violation("/fields", "differs", f"the dataset has a field {name}, which is not given", field=name)
    yield from _members({**given, "fields": []}, {**present, "fields": []}, "", "", None)


def _members(given: Json, present: Json, pointer: str, where: str, field: str | None) -> Iterator[Violation]:
    for member in sorted(given.keys() | present.keys()):
        one, other = given.get(member), present.get(member)
        if member == "pipeline":
            other = _as_given(one, other)
        # As text: to Python 1 and true are the same.
        if json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True):
            reason = f"{where}{member} is {shorten(other)} there, and {shorten(one)} here"
            yield Violation(f"{pointer}/{member}", "differs", reason, field=field or member)


def _as_given(given: Any, present: Any) -> Any:
    """Return the steps that are there, without statistics that a fit has written into them and that are not given."""
    if not isinstance(given, list) or not isinstance(present, list) or len(given) != len(present):
        return present
    return [other if "fitted" in one else without_statistics(other) for one, other in zip(given, present, strict=True)]
