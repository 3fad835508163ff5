"""Which datasets are above and below one, and the scopes that jobs over several of them take."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection

from gristmill.datasets.contract import Contract
from gristmill.datasets.lookup import scope_of
from gristmill.datasets.parents.above import named_parents
from gristmill.datasets.parents.checks import FindContract
from gristmill.datasets.parents.repository.hierarchy import ChildRow, list_with_parents


def names_above(contract: Contract, find: FindContract) -> set[str]:
    """Return the names of all datasets above one: its parents', and theirs."""
    found: set[str] = set()
    waiting = [parent.dataset for parent in contract.parents]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            above = find(name)
            waiting += [] if above is None else [parent.dataset for parent in above.parents]
    return found


def rows_below(connection: Connection, name: str) -> list[ChildRow]:
    """Return all datasets below one, parents before their children."""
    return _below(list_with_parents(connection), name)


def _below(rows: Sequence[ChildRow], name: str) -> list[ChildRow]:
    found: dict[str, ChildRow] = {}
    names = {name}
    while further := [row for row in rows if row.name not in found and names & _parents(row)]:
        found |= {row.name: row for row in further}
        names |= found.keys()
    ordered: list[ChildRow] = []
    left = dict(found)
    while left:
        # There are no circles, so one of them has no parent among those that are left.
        first = next((row for row in left.values() if not _parents(row) & left.keys()), next(iter(left.values())))
        ordered.append(left.pop(first.name))
    return ordered


def _parents(row: ChildRow) -> set[str]:
    return {str(parent["dataset"]) for parent in row.parents}


def scopes_above(contract: Contract, touched: Collection[str] | None = None) -> dict[str, bool]:
    """Return the scopes of the parents that a write depends on whose outcome depends on its place in the order.

    touched: the fields that it may change, None for all. A write that does not touch the parent's key and nothing that
    a limit measures does not depend on the parent.
    """
    return {
        scope_of(parent.dataset): True
        for parent in contract.parents
        if touched is None or parent.is_touched_by(touched)
    }


def scopes_read_by(where: Any, contract: Contract) -> dict[str, bool]:
    """Return the scopes of the datasets above that a filter reads, for a job whose outcome depends on what they hold.

    where: parsed JSON, checked. contract: with those above it, see ``attach_above``.
    """
    scopes: dict[str, bool] = {}
    for name in named_parents(where, contract):
        present, (head, _, rest) = contract, name.partition(".")
        while rest and head in present.above:
            present = present.above[head]
            scopes[scope_of(present.name)] = True
            head, _, rest = rest.partition(".")
    return scopes


def scopes_of_removal(contract: Contract, below: Sequence[ChildRow] = ()) -> dict[str, bool]:
    """Return the scopes beside its own of a write that takes records away, or changes their keys.

    It is exclusive in those of all datasets below (see ``rows_below``), which it may change, and of all parents whose
    limits count what it may change there.
    """
    scopes = {scope_of(parent.dataset): True for parent in contract.parents if parent.limits}
    for row in below:
        scopes[scope_of(row.name)] = True
        scopes |= {scope_of(name): True for name in _limiting(row.parents)}
    scopes.pop(scope_of(contract.name), None)
    return scopes


def _limiting(parents: Sequence[dict[str, Any]]) -> set[str]:
    return {str(parent["dataset"]) for parent in parents if parent.get("limits")}
