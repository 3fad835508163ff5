"""The contracts above a dataset, attached to its contract where a filter names fields of parents."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection

from gristmill.datasets.contract import Contract, load_contract
from gristmill.datasets.contract_checks import FILTER_WORDS
from gristmill.datasets.parents.repository.hierarchy import list_contracts


def names_parents(where: Any, contract: Contract) -> bool:
    """Say whether a filter (parsed JSON, not checked yet) may name fields of parents."""
    return bool(contract.parents) and any(True for _ in named_parents(where, contract))


def named_parents(where: Any, contract: Contract) -> Iterator[str]:
    """Yield the names in a filter that begin with the field of a parent and a dot."""
    waiting = [where]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            for name, item in one.items():
                if name in FILTER_WORDS:
                    waiting.append(item)
                elif name.partition(".")[0] in contract.parent_fields and "." in name:
                    yield name


def attach_above(connection: Connection, contract: Contract, where: Any, visible: bool = False) -> Contract:
    """Return the contract as ``compile_where`` takes it: with those above it, if the filter names fields of parents.

    The contracts are those of the tables. visible: those that clients see, in a transaction that submits a job; nobody
    changes them before it has its number.
    """
    if not names_parents(where, contract):
        return contract
    return _attached(contract, contracts_above(connection, contract, visible), {})


def contracts_above(connection: Connection, contract: Contract, visible: bool = False) -> dict[str, Contract]:
    """Return the contracts of all datasets above one by their names, those of the tables. visible: see above."""
    known: dict[str, Contract] = {}
    missing = {parent.dataset for parent in contract.parents}
    while missing:
        found = list_contracts(connection, missing, visible)
        known |= {name: load_contract(body) for name, body in found.items()}
        missing = {parent.dataset for name in found for parent in known[name].parents} - known.keys()
    return known


def _attached(contract: Contract, known: dict[str, Contract], made: dict[str, Contract]) -> Contract:
    # There are no circles, so this ends.
    if contract.name not in made:
        copy = contract.model_copy()
        # Kept as a cached property is: equality and hash are of the fields alone.
        copy.__dict__["above"] = {
            parent.field: _attached(known[parent.dataset], known, made)
            for parent in contract.parents
            if parent.dataset in known
        }
        made[contract.name] = copy
    return made[contract.name]
