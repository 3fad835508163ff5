"""The parents and children of a dataset with the contracts that their tables have: what a write is checked against."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from gristmill.datasets.applied import AppliedDatasets
from gristmill.datasets.contract import Contract, load_contract
from gristmill.datasets.errors import DatasetFailed, UnknownDataset
from gristmill.datasets.lookup import DatasetLookup
from gristmill.datasets.parents.above import contracts_above
from gristmill.datasets.parents.closure import rows_below
from gristmill.datasets.parents.spec import ParentSpec


@dataclass(frozen=True, slots=True)
class Relation:
    """Records of ``child`` that have records of ``parent`` as their parents. The contracts are those of the tables."""

    spec: ParentSpec
    child: Contract
    parent: Contract


class Relations:
    """Finds relations. What it met before costs one narrow query for each parent."""

    def __init__(self, lookup: DatasetLookup) -> None:
        self._applied = AppliedDatasets(lookup)

    def above(self, connection: Connection, child: Contract) -> list[Relation]:
        """Return the relations to the parents of a dataset.

        Raises DatasetFailed where a parent's dataset is not there, or not yet: jobs that need it come after its
        creation.
        """
        found = []
        for spec in child.parents:
            try:
                with self._applied.reading(connection, spec.dataset) as one:
                    if not one.has_table:
                        raise DatasetFailed(f"The parent's dataset {spec.dataset} was not created")
                    found.append(Relation(spec, child, one.dataset.contract))
            except UnknownDataset as error:
                raise DatasetFailed(f"The parent's dataset {spec.dataset} is not there any more") from error
        return found

    def below(self, connection: Connection, parent: Contract) -> list[Relation]:
        """Return the relations to the direct children of a dataset whose tables are there."""
        return [relation for relation in self.all_below(connection, parent) if relation.parent.name == parent.name]

    def all_below(self, connection: Connection, parent: Contract) -> list[Relation]:
        """Return all relations below a dataset, parents before their children."""
        return all_below(connection, parent)


def all_below(connection: Connection, parent: Contract) -> list[Relation]:
    """Return all relations below a dataset whose tables are there, parents before their children."""
    contracts = {parent.name: parent}
    found: list[Relation] = []
    for row in rows_below(connection, parent.name):
        if row.applied is None or row.state != "ready":
            continue
        child = contracts[row.name] = load_contract(row.applied)
        found += [Relation(spec, child, contracts[spec.dataset]) for spec in _within(child, contracts)]
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


def _within(child: Contract, contracts: dict[str, Contract]) -> Sequence[ParentSpec]:
    return [spec for spec in child.parents if spec.dataset in contracts and spec.dataset != child.name]
