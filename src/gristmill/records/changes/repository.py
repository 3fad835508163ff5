"""Changing and deleting records: the writes whose outcome depends on their place in the order of jobs."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from gristmill.core.database import data_relation
from gristmill.datasets.contract import Contract
from gristmill.datasets.ddl import IN_ITS_BATCH, batch_of, record_table
from gristmill.datasets.types import TYPES
from gristmill.datasets.where import compile_where
from gristmill.kit.identifiers import quote
from gristmill.records.columns import Row
from gristmill.records.etags import LastWrite
from gristmill.records.key_list import Key, listed_keys


def last_write(connection: Connection, contract: Contract, key: Key, lock: bool = False) -> LastWrite | None:
    """Return which write the record is of, None if there is none.

    key: canonical values in the order of the contract's key. lock: keep others from changing it meanwhile.
    """
    query = f"SELECT _seq, _ord FROM {data_relation(contract.name)} WHERE {_key_condition(contract)}"  # noqa: S608
    query += " FOR UPDATE" if lock else ""
    found = connection.exec_driver_sql(query, _key_parameters(contract, key)).first()
    return None if found is None else LastWrite(found[0], found[1])


def read_fields(
    connection: Connection, contract: Contract, key: Key, names: Sequence[str], lock: bool = False
) -> Row | None:
    """Return these fields of one record as canonical values, None if there is none.

    lock: keep others from changing it meanwhile.
    """
    table = record_table(contract)
    query = sa.select(*(table.c[name] for name in names))
    query = query.where(has_key(contract, key))
    found = connection.execute(query.with_for_update() if lock else query).mappings().first()
    return None if found is None else dict(found)


def patch(connection: Connection, contract: Contract, key: Key, changes: Row, seq: int) -> LastWrite | None:
    """Set the members of ``changes`` (canonical values; ``_embedding`` too) of one record; None if it is not there.

    Fields of the key among them have to make a key that no other record has. seq: the number of the job.
    """
    # Fields may be called as other parameters are.
    values = {f"value_{place}": _parameter(contract, *change) for place, change in enumerate(changes.items())}
    assignments = ", ".join(f"{quote(name)} = %({value})s" for name, value in zip(changes, values, strict=True))
    query = (
        f"UPDATE {data_relation(contract.name)} AS t SET {assignments}, {IN_ITS_BATCH}, _seq = %(seq)s, _ord = 0,"  # noqa: S608
        f" _id = DEFAULT WHERE {_key_condition(contract)}"
    )
    done = connection.exec_driver_sql(query, {**_key_parameters(contract, key), **values, "seq": seq}).rowcount == 1
    return LastWrite(seq, 0) if done else None


def delete_by_key(connection: Connection, contract: Contract, key: Key) -> bool:
    """Delete one record; return whether there was one."""
    query = f"DELETE FROM {data_relation(contract.name)} WHERE {_key_condition(contract)}"  # noqa: S608
    return connection.exec_driver_sql(query, _key_parameters(contract, key)).rowcount == 1


def delete_where(connection: Connection, contract: Contract, where: Any) -> int:
    """Delete the records that the filter finds; return how many. Raises Invalid for a bad filter."""
    table = record_table(contract)
    return connection.execute(sa.delete(table).where(compile_where(where, contract, table))).rowcount


def delete_keys(connection: Connection, contract: Contract, keys: Sequence[Key]) -> int:
    """Delete the records with these keys; return how many there were."""
    if not keys:
        return 0
    table = record_table(contract)
    return connection.execute(sa.delete(table).where(has_one_of(contract, keys))).rowcount


def has_key(contract: Contract, key: Key) -> sa.ColumnElement[bool]:
    """Return the condition of the record with this key."""
    table = record_table(contract)
    return sa.and_(*(table.c[part] == value for part, value in zip(contract.key, key, strict=True)))


def has_one_of(contract: Contract, keys: Sequence[Key]) -> sa.ColumnElement[bool]:
    """Return the condition of records with one of these keys, one or more. They are locked in the order of the keys."""
    table = record_table(contract)
    listed, same = listed_keys(contract, table, keys)
    # The list is of one row a key, and so is the table: what is deleted is counted once.
    found = (
        sa.select(table.c["_id"]).select_from(listed.join(table, same)).order_by(*(table.c[k] for k in contract.key))
    )
    locked = found.with_for_update(of=table).cte("locked")
    return table.c["_id"].in_(sa.select(locked.c["_id"]))


def finds_at_most(connection: Connection, contract: Contract, where: Any, most: int) -> bool:
    """Say whether a filter finds no more than so many records. Raises Invalid for a bad filter."""
    table = record_table(contract)
    found = sa.select(table.c["_id"]).where(compile_where(where, contract, table)).limit(most + 1).subquery()
    return connection.execute(sa.select(sa.func.count()).select_from(found)).scalar_one() <= most


def patch_where(connection: Connection, contract: Contract, where: Any, changes: Row, seq: int) -> int:
    """Set the members of ``changes`` (canonical values) of the records that the filter finds; return how many.

    Records without a key keep their places in the order of submission. Raises Invalid for a bad filter.
    """
    table = record_table(contract)
    written = {"_seq": seq, "_ord": 0} if contract.key else {}
    values = {table.c[name]: value for name, value in {**changes, **written}.items()}
    if contract.key:
        values[table.c["_batch"]] = batch_of(table)
    # A new _id takes the row out of every sealed range, so that no vector index is touched.
    values[table.c["_id"]] = sa.text("DEFAULT")
    statement = sa.update(table).where(compile_where(where, contract, table)).values(values)
    return connection.execute(statement).rowcount


def _key_condition(contract: Contract) -> str:
    return " AND ".join(f"{quote(name)} = %(key_{index})s" for index, name in enumerate(contract.key))


def _key_parameters(contract: Contract, key: Key) -> dict[str, Any]:
    values = zip(contract.key, key, strict=True)
    return {f"key_{index}": _parameter(contract, name, value) for index, (name, value) in enumerate(values)}


def _parameter(contract: Contract, name: str, value: Any) -> Any:
    """Return a canonical value as psycopg2 takes it; what it has no adapter for goes as text."""
    return None if value is None else TYPES[contract.column(name).type].parameter(value)
