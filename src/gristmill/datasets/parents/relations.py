"""The parents and children of a dataset with the contracts that their tables have: what a write is checked against."""

import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from gristmill.datasets.applied import AppliedDatasets
from gristmill.datasets.contract import Contract, FieldSpec, load_contract
from gristmill.datasets.errors import DatasetFailed, UnknownDataset
from gristmill.datasets.lookup import Dataset, DatasetLookup
from gristmill.datasets.parents.above import contracts_above
from gristmill.datasets.parents.closure import rows_below
from gristmill.datasets.parents.errors import HierarchyChanged
from gristmill.datasets.parents.spec import ParentSpec
from gristmill.kit.caches import SharedCache

_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class Relation:
    """Records of ``child`` that have records of ``parent`` as their parents. The contracts are those of the tables.

    statements: what was put together for it.
    """

    spec: ParentSpec
    child: Contract
    parent: Contract
    statements: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def key(self) -> FieldSpec:
        """The field of the parent that children name."""
        return self.parent.key_fields[0]


class Relations:
    """Finds relations. Those of a dataset to its parents cost nothing once they are known."""

    def __init__(self, lookup: DatasetLookup) -> None:
        self._applied = AppliedDatasets(lookup)
        self._known: SharedCache[tuple[uuid.UUID, int, Contract], list[Relation]] = SharedCache(_REMEMBERED)

    def of(self, connection: Connection, child: Dataset) -> list[Relation]:
        """Return the relations to the parents of a dataset. Raises as ``above`` does.

        A dataset that has children is not dropped, and keeps what they need of it, so these stay as they are. A later
        version of the child may name other datasets by the same names.
        """
        key = (child.id, child.version, child.contract)
        found = self._known.get(key)
        if found is not None:
            return found
        return self._known.put(key, self.above(connection, child.contract))

    def above(self, connection: Connection, child: Contract) -> list[Relation]:
        """Return the relations to the parents of a dataset with this contract.

        Raises DatasetFailed where a parent's dataset is not there, or not yet: jobs that need it come after its
        creation.
        """
        found = []
        for spec in child.parents:
            try:
                with self._applied.reading(connection, spec.dataset) as one:
                    if not one.has_table:
                        raise DatasetFailed(f"The parent's dataset {spec.dataset} was not created")
                    parent = one.dataset.contract
                    lost = sorted(name for name in spec.bound_fields if not parent.has_field(name))
                    if lost:
                        # The change that was to add it was not applied.
                        raise DatasetFailed(f"The parent's dataset {spec.dataset} has no field {lost[0]}")
                    found.append(Relation(spec, child, parent))
            except UnknownDataset as error:
                raise DatasetFailed(f"The parent's dataset {spec.dataset} is not there any more") from error
        return found

    def below(self, connection: Connection, parent: Contract) -> list[Relation]:
        """Return the relations to the direct children of a dataset whose tables are there."""
        return [relation for relation in all_below(connection, parent) if relation.parent.name == parent.name]


def all_below(connection: Connection, parent: Contract, known: Collection[str] | None = None) -> list[Relation]:
    """Return all relations below a dataset whose tables are there, parents before children, those of a child together.

    known: the ids of the datasets below that a job was submitted with, in whose scopes it is alone. Raises
    HierarchyChanged where there is another one.
    """
    contracts = {parent.name: parent}
    found: list[Relation] = []
    for row in rows_below(connection, parent.name):
        if row.applied is None or row.state != "ready":
            continue
        if known is not None and str(row.id) not in known:
            reason = f"{row.name} has got parents in {parent.name}, or below it, since the job was submitted"
            raise HierarchyChanged(f"{reason}: submit it again")
        child = contracts[row.name] = load_contract(row.applied)
        found += [Relation(one, child, contracts[one.dataset]) for one in child.parents if one.dataset in contracts]
    return found


def all_above(connection: Connection, child: Contract) -> list[Relation]:
    """Return all relations above a dataset, each once."""
    above = contracts_above(connection, child)
    found: dict[tuple[str, str], Relation] = {}
    for contract in (child, *above.values()):
        for spec in contract.parents:
            if spec.dataset in above:
                found[contract.name, spec.field] = Relation(spec, contract, above[spec.dataset])
    return list(found.values())
