"""Changes of datasets with others above or below: what they have to leave as it is, and what they wait for."""

from sqlalchemy import Connection

from gristmill.core.errors import Invalid
from gristmill.datasets.contract import Contract, load_contract
from gristmill.datasets.errors import DatasetFailed, HasChildren, UnknownDataset
from gristmill.datasets.lookup import DatasetLookup, scope_of
from gristmill.datasets.parents.checks import FindContract, check_parents
from gristmill.datasets.parents.closure import names_above, rows_below
from gristmill.datasets.parents.repository.hierarchy import raise_hierarchy


def finder(connection: Connection, lookup: DatasetLookup) -> FindContract:
    """Return what finds the contract that clients see of a dataset, by its name."""

    def find(name: str) -> Contract | None:
        try:
            return lookup.get(connection, name).contract
        except (UnknownDataset, DatasetFailed):
            return None

    return find


def begin_relations(
    connection: Connection, lookup: DatasetLookup, new: Contract, old: Contract | None = None
) -> dict[str, bool]:
    """Note in all datasets above that there is one more below; return the scopes that the job takes beside its own.

    It is alone with the parents that are new to the dataset, whose records are compared with what is stored. Raises
    Invalid where a parent was changed meanwhile.
    """
    if not new.parents:
        return {}
    find = finder(connection, lookup)
    above = names_above(new, find)
    raise_hierarchy(connection, above)
    # They are kept as they are now, and may have been changed before that.
    violations = list(check_parents(new, find))
    if violations:
        raise Invalid(f"The parents are not valid: {violations[0].pointer}: {violations[0].reason}", violations)
    known = () if old is None else old.parents
    fresh = {} if old is None else {parent.dataset: True for parent in new.parents if parent not in known}
    return {scope_of(name): fresh.get(name, False) for name in above}


def refuse_for_children(connection: Connection, name: str, what: str) -> None:
    """Raise HasChildren where a dataset names this one as its parents'. what: cannot be done to it then."""
    names = [row.name for row in rows_below(connection, name) if any(one["dataset"] == name for one in row.parents)]
    if names:
        whose = f"that of the parents of {', '.join(names)}"
        raise HasChildren(f"{name} cannot be {what} while it is {whose}: change or drop these first", datasets=names)


def refuse_unfit_parent(connection: Connection, lookup: DatasetLookup, new: Contract) -> None:
    """Raise HasChildren where a changed contract would no longer do as that of the parents of a dataset below."""
    find = finder(connection, lookup)
    for row in rows_below(connection, new.name):
        child = load_contract(row.contract)
        for violation in check_parents(child, lambda name: new if name == new.name else find(name)):
            reason = f"{row.name} has its parents there, and would not fit any more: {violation.reason}"
            raise HasChildren(reason, datasets=[row.name])
