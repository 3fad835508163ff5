"""Statements of searches that Postgres plans once per connection, not for each search.

Parsing and planning took a quarter of the Postgres time of a search of one segment, and as much of one of four. A plan
may be kept where it is the best one whatever is searched for: that of a walk through graphs, without a filter. The plan
of a filter depends on its values, and that of a small table without graphs on how many records it has by now.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from gristmill.core.prepared import Passing
from gristmill.search.query.settings import Settings
from gristmill.search.query.statements import Shape

# The vector is unknown when the plan is made, and has no part in it.
PLANNED_ONCE: Settings = {"plan_cache_mode": "force_generic_plan"}
# Written out: of a LIMIT that it does not know the planner expects a tenth of the table, and reads all of it.
_CONSTANTS = ("k", "limit", "size")
_OF_EACH_WALK = "candidates"
_TYPES = {"query": "text", "most": "float8", "after_place": "float8", "after_id": "int8"}


def is_planned_once(shape: Shape) -> bool:
    """Say whether the plan of the statement does not depend on what is searched for."""
    return shape.mode == "vector" and bool(shape.ranges) and not shape.where


def planned(statement: str, values: Mapping[str, Any], settings: Settings) -> Passing:
    """Return ``statement``, of a shape that is planned once, to be prepared.

    values: those of its LIMITs, among others. settings: those that it will run under.
    """
    constants = tuple(
        (name, value) for name, value in values.items() if name in _CONSTANTS or name.startswith(_OF_EACH_WALK)
    )
    return _planned(statement, constants, tuple(settings.items()))


@lru_cache(maxsize=1000)
def _planned(
    statement: str, constants: tuple[tuple[str, int], ...], settings: tuple[tuple[str, str | int], ...]
) -> Passing:
    for name, value in constants:
        statement = statement.replace(f"%({name})s", f"{value:d}")
    # The plan is made under these settings, so under others it is another statement: a graph that is walked with ten
    # times the effort may be dearer than to compare all records of a small table.
    about = ", ".join(f"{name} = {value}" for name, value in settings)
    return Passing(f"/* {about} */ {statement}", **_TYPES)
