"""SQL of the children that records of a batch replace."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from gristmill.datasets.contract import Contract
from gristmill.datasets.ddl import record_table
from gristmill.records.key_list import Key, listed_keys


def read_fields_of(
    connection: Connection, contract: Contract, keys: Sequence[Key], names: Sequence[str]
) -> dict[Key, dict[str, Any]]:
    """Return these fields of the records that are there, by their keys."""
    table = record_table(contract)
    listed, same = listed_keys(contract, table, keys)
    shown = [table.c[name] for name in names]
    statement = sa.select(listed.c.place, *shown).select_from(listed.join(table, same))
    return {keys[row[0] - 1]: dict(zip(names, row[1:], strict=True)) for row in connection.execute(statement)}
