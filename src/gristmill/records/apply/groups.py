"""Which small chunks of several jobs one statement can write, as if each had been written by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gristmill.datasets.contract import Contract
from gristmill.records.apply.upsert import Key, Part, keys_of

# Records in one statement: what all of a message may have.
MOST_ROWS = 1000


@dataclass(slots=True)
class _Group:
    shape: Any
    places: list[int]
    rows: int = 0


def group_parts(contract: Contract, parts: Sequence[Part]) -> list[list[int]]:
    """Return which parts, given in the order of their jobs, one statement can write: their places, group by group.

    Written in this order, the groups leave what the parts would have left one by one, and each part's counts too: no
    key is twice in a group, and what has a key of an earlier part is in a later group than that part.
    """
    groups: list[_Group] = []
    last_group: dict[Key, int] = {}
    for place, part in enumerate(parts):
        keys = set(keys_of(contract, part.table)) if contract.key else set()
        first = max((last_group.get(key, -1) for key in keys), default=-1) + 1
        shape = part.table.schema
        rows = part.table.num_rows
        found = next(
            (
                number
                for number in range(first, len(groups))
                if groups[number].shape == shape and groups[number].rows + rows <= MOST_ROWS
            ),
            len(groups),
        )
        if found == len(groups):
            groups.append(_Group(shape, []))
        groups[found].places.append(place)
        groups[found].rows += rows
        last_group.update(dict.fromkeys(keys, found))
    return [group.places for group in groups]
