"""What is to be nested into the records of a read, as clients say it."""

from collections.abc import Sequence
from dataclasses import dataclass

from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.describe import shorten

CHILDREN, PARENT = "children", "parent"
MOST_DEPTH = 5
_VALID = (CHILDREN, PARENT)


@dataclass(frozen=True, slots=True)
class Expand:
    """children, parents: whether records get them. depth: how many levels of each."""

    children: bool = False
    parents: bool = False
    depth: int = 1

    def __bool__(self) -> bool:
        return self.children or self.parents


NOTHING = Expand()


def read_expand(given: Sequence[str] | None, depth: int | None, at: str) -> Expand:
    """Return what is asked for. given: names, or several with commas between them. at: where they stand.

    Raises Invalid for other names, and for a depth of nothing.
    """
    names = [name.strip() for text in given or () for name in text.split(",")]
    for name in names:
        if name not in _VALID:
            reason = f"expand={shorten(name)} is nothing that a record has; the valid ones are: {', '.join(_VALID)}"
            raise Invalid(reason, [Violation(f"{at}/expand", "unknown_value", reason, field="expand")])
    if depth is not None and not names:
        reason = f"depth={depth} says how many levels are nested, and nothing is: give expand, of {', '.join(_VALID)}"
        raise Invalid(reason, [Violation(f"{at}/depth", "not_applicable", reason, field="depth")])
    return Expand(CHILDREN in names, PARENT in names, depth or 1)
