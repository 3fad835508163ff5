"""SQL of hierarchies: which datasets name parents, and that those above have got children."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from gristmill.datasets.tables import LIVE_STATES

_LIVE = ", ".join(f"'{state}'" for state in LIVE_STATES)
# With the contract that clients see, and the one that the table has: a change on its way may come to nothing.
_WITH_PARENTS = f"""
SELECT d.id, d.name, d.state, d.contract, v.contract AS applied
FROM gristmill.datasets AS d LEFT JOIN LATERAL (
    SELECT contract FROM gristmill.dataset_versions
    WHERE dataset_id = d.id AND state = 'applied' ORDER BY version DESC LIMIT 1
) AS v ON true
WHERE d.state IN ({_LIVE}) AND (d.contract ? 'parents' OR v.contract ? 'parents') ORDER BY d.name
"""  # noqa: S608 - constants of this package
# In the order of their ids: two that lock the same rows cannot wait for each other.
_RAISE = f"""
UPDATE gristmill.datasets SET hierarchy = hierarchy + 1 WHERE id IN (
    SELECT id FROM gristmill.datasets WHERE name = ANY(%(names)s) AND state IN ({_LIVE}) ORDER BY id FOR UPDATE)
"""  # noqa: S608 - constants of this package
# A dataset that is being created has no applied version yet.
_APPLIED = f"""
SELECT d.name, coalesce((
    SELECT contract FROM gristmill.dataset_versions
    WHERE dataset_id = d.id AND state = 'applied' ORDER BY version DESC LIMIT 1), d.contract) AS contract
FROM gristmill.datasets AS d WHERE d.name = ANY(%(names)s) AND d.state IN ({_LIVE})
"""  # noqa: S608 - constants of this package
_VISIBLE = f"""
SELECT name, contract FROM gristmill.datasets WHERE name = ANY(%(names)s) AND state IN ({_LIVE}) ORDER BY id FOR SHARE
"""  # noqa: S608 - constants of this package


@dataclass(frozen=True, slots=True)
class ChildRow:
    """A dataset with parents. applied: the contract that its table has; None while it is being created."""

    id: uuid.UUID
    name: str
    state: str
    contract: dict[str, Any]
    applied: dict[str, Any] | None

    @property
    def parents(self) -> list[dict[str, Any]]:
        """The parents that the dataset has, or may have again."""
        found: list[dict[str, Any]] = list(self.contract.get("parents", ()))
        return found + [one for one in (self.applied or {}).get("parents", ()) if one not in found]


def list_with_parents(connection: Connection) -> Sequence[ChildRow]:
    """Return the live datasets that name parents, in the order of their names."""
    return [ChildRow(*row) for row in connection.exec_driver_sql(_WITH_PARENTS)]


def list_contracts(connection: Connection, names: Collection[str], visible: bool) -> dict[str, dict[str, Any]]:
    """Return the contracts of live datasets by their names: those of the tables.

    visible: those that clients see; others are kept from changing them until the transaction ends.
    """
    rows = connection.exec_driver_sql(_VISIBLE if visible else _APPLIED, {"names": sorted(names)})
    return {row.name: row.contract for row in rows}


def raise_hierarchy(connection: Connection, names: Collection[str]) -> None:
    """Note of each of the datasets that what is below it has changed, and keep others from changing them meanwhile."""
    if names:
        connection.exec_driver_sql(_RAISE, {"names": sorted(names)})
