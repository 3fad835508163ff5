"""Names of scopes and datasets with the arguments of a job in them: ``dataset:{name}``."""

import string
import uuid

from pydantic import BaseModel

from gristmill.core.errors import Invalid, Violation
from gristmill.kit.json_pointer import pointer_to

_LONGEST = 200


def fields_in(template: str) -> list[str]:
    """Return the arguments that a template names. Raises ValueError where it is more than names in braces."""
    fields = []
    for _, name, form, conversion in string.Formatter().parse(template):
        if name is None:
            continue
        if not name.isidentifier() or form or conversion:
            raise ValueError(f"{template!r} may have names of arguments in braces, and nothing else there")
        fields.append(name)
    return fields


def fill(template: str, args: BaseModel) -> str:
    """Return the name for these arguments. Raises Invalid for a value that is no text, whole number or UUID."""
    values = {}
    for name in fields_in(template):
        value = getattr(args, name)
        shown = str(value) if isinstance(value, str | int | uuid.UUID) and not isinstance(value, bool) else ""
        if not shown or len(shown) > _LONGEST or "\0" in shown:
            reason = f"{name} is part of the name of what the job is ordered within: give 1 to {_LONGEST} characters"
            raise Invalid(
                f"{reason} (got {value!r:.80})",
                [Violation(pointer_to(["args", name]), "bad_scope", f"{reason} (got {value!r:.80})", field=name)],
            )
        values[name] = shown
    return template.format_map(values)
