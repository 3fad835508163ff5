"""Reads of the records that a merge lays others over."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from gristmill.datasets.contract import Contract
from gristmill.datasets.ddl import record_table
from gristmill.records.apply.merge import StoredRecord
from gristmill.records.etags import LastWrite
from gristmill.records.key_list import Key, listed_keys
from gristmill.records.parents.repository import read_fields_of


def read_stored(connection: Connection, contract: Contract, keys: Sequence[Key]) -> dict[Key, StoredRecord]:
    """Return those of the records that are there, by their keys."""
    names = [column.name for column in contract.columns]
    found = read_fields_of(connection, contract, keys, [*names, "_seq", "_ord"])
    return {key: StoredRecord(row, LastWrite(row.pop("_seq"), row.pop("_ord"))) for key, row in found.items()}


def lock_writes(connection: Connection, contract: Contract, keys: Sequence[Key]) -> dict[Key, LastWrite]:
    """Lock those of the records that are there until the transaction ends; return which write each is of."""
    table = record_table(contract)
    listed, same = listed_keys(contract, table, keys)
    statement = sa.select(listed.c.place, table.c["_seq"], table.c["_ord"]).select_from(listed.join(table, same))
    rows = connection.execute(statement.order_by(listed.c.place).with_for_update(of=table))
    return {keys[place - 1]: LastWrite(seq, ord_) for place, seq, ord_ in rows}
