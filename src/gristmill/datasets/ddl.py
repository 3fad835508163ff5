"""The table of a dataset: its columns and indexes as SQLAlchemy sees them, and the DDL that makes, changes, drops it.

No table ever has a vector index that a write must update; ``search`` builds those over sealed ranges, one by one.
"""

import contextlib
import hashlib
import uuid
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateColumn, SetColumnComment
from sqlalchemy.sql.elements import Grouping

from gristmill.core.database import DATA_SCHEMA, data_relation
from gristmill.datasets.contract import TEXT_COLUMN, Contract, FieldSpec
from gristmill.datasets.embedding import TextSearchSpec
from gristmill.datasets.errors import TableBusy, TableExists
from gristmill.datasets.json_members import indexed_member
from gristmill.datasets.types import TYPES
from gristmill.kit.identifiers import quote

LOCK_TIMEOUT_SECONDS = 5
# A vector stored in the row itself is read twice as fast as one stored out of line, if the row still fits a page.
MAX_PLAIN_DIMENSIONS = 1900
_MAX_ROW_BYTES = 8100
# Bytes of text whose words are searched; a character has at most four.
MAX_WORD_BYTES = 262_144
# The comment of a table says which dataset made it, to people and to retries.
_OWNER = "gristmill dataset "
# What a row takes before its fields: header, null bitmap of 254 columns, the three system numbers.
_ROW_OVERHEAD = 24 + 32 + 24

# Upserts move rows to the end (a new _id), so no room is kept on pages; vacuum and statistics follow loads soon. Values
# stored out of line are a table of their own to vacuum, which does not take over the settings of the rows.
_STORAGE = {
    "autovacuum_vacuum_scale_factor": 0.05,
    "autovacuum_vacuum_insert_scale_factor": 0.1,
    "autovacuum_analyze_scale_factor": 0.02,
    "toast.autovacuum_vacuum_scale_factor": 0.05,
    "toast.autovacuum_vacuum_insert_scale_factor": 0.1,
}


# What an UPDATE that gives a record another ``_seq`` sets besides, see ``batch_of``.
IN_ITS_BATCH = "_batch = coalesce(t._batch, t._seq)"


@lru_cache(maxsize=512)
def record_table(contract: Contract) -> sa.Table:
    """Return the dataset's table: the fields in order, then ``_id``, ``_seq``, ``_ord``, ``_batch``,
    ``_embedding``, ``_text``."""
    name = contract.name
    columns = [_column(field) for field in contract.fields]
    columns += [
        sa.Column("_id", sa.BigInteger, sa.Identity(always=False), nullable=False),
        sa.Column("_seq", sa.BigInteger, nullable=False),
        sa.Column("_ord", sa.BigInteger, nullable=False),
        sa.Column(
            "_batch", sa.BigInteger, comment="the job that brought the record, where another has changed it since"
        ),
    ]
    columns += [_column(column) for column in contract.columns if not contract.has_field(column.name)]
    if contract.text_search is not None:
        columns.append(sa.Column(TEXT_COLUMN, TSVECTOR, sa.Computed(_words(contract.text_search), persisted=True)))
    table = sa.Table(name, sa.MetaData(), *columns, schema=DATA_SCHEMA, postgresql_with=_STORAGE)
    if contract.key:
        key, key_name = contract.key, f"{name}__key"
        sa.Index(f"{name}__id", table.c["_id"])
        order = [part for part in contract.key if part != contract.time_field]
    else:
        key, key_name = ("_id",), f"{name}__id"
        order = ["_seq", "_ord"]
        sa.Index(f"{name}__order", table.c["_seq"], table.c["_ord"])
    if contract.time_field is not None:
        sa.Index(f"{name}__time", table.c[contract.time_field], *(table.c[part] for part in order))
    # Tools that map tables to classes need a primary key. Its name is that of its index.
    table.append_constraint(sa.PrimaryKeyConstraint(*(table.c[part] for part in key), name=key_name))
    if contract.views.root:
        sa.Index(f"{name}__batch", batch_of(table))
    if contract.text_search is not None:
        sa.Index(f"{name}__text", table.c[TEXT_COLUMN], postgresql_using="gin")
    for field in contract.fields:
        if contract.is_indexed(field):
            sa.Index(_filter_index(contract, field), table.c[field.name])
        for path, type_ in field.declared_members.items():
            digest = hashlib.sha256(f"{type_}:{path}".encode()).hexdigest()[:8]
            name = f"{_filter_index(contract, field)}m{digest}"
            sa.Index(name, Grouping(indexed_member(table.c[field.name], path, type_)))
    return table


def batch_of(table: sa.Table) -> sa.ColumnElement[int]:
    """Return the number of the job that brought a record: changes leave it in its batch."""
    return sa.func.coalesce(table.c["_batch"], table.c["_seq"])


def _column(field: FieldSpec) -> sa.Column[Any]:
    kind, comment = TYPES[field.type].column(field), _about(field)
    # An integer that is the primary key would become a serial otherwise.
    return sa.Column(field.name, kind, nullable=not field.required, comment=comment, autoincrement=False)


def _about(field: FieldSpec) -> str | None:
    """Return what people who look at the table are told of a column."""
    unit = None if field.unit is None else f"Unit: {field.unit}"
    return "\n".join(text for text in (field.title, field.description, unit) if text) or None


def _words(spec: TextSearchSpec) -> str:
    """Return the expression of ``_text``: the words of the fields, one after the other.

    A tsvector is limited to 1 MiB, which words of addresses and hyphens can reach from a quarter of that: of longer
    texts only the beginning is searched by words, because a record that was accepted must not fail to be stored.
    """
    language = f"'{spec.language}'::regconfig"
    text = " || ' ' || ".join(f"coalesce({quote(name)}, '')" for name in spec.from_)
    return (
        f"to_tsvector({language}, CASE WHEN octet_length({text}) <= {MAX_WORD_BYTES} THEN {text}"
        f" ELSE left({text}, {MAX_WORD_BYTES // 4}) END)"
    )


def _filter_index(contract: Contract, field: FieldSpec) -> str:
    # The field's position and not its name: both names joined could exceed Postgres' 63 bytes. Positions never change.
    return f"{contract.name}__f{contract.fields.index(field)}"


def plain_columns(contract: Contract) -> list[str]:
    """Return the columns to store in the row itself: the embedding first, as long as the row fits a page."""
    sizes = {column.name: TYPES[column.type].plain_bytes(column) for column in contract.columns}
    free = _MAX_ROW_BYTES - _ROW_OVERHEAD - sum(24 if sizes[field.name] is None else 18 for field in contract.fields)
    if contract.text_search is not None:
        free -= 24
    chosen = []
    for name in sorted(sizes, key=contract.has_field):
        size = sizes[name]
        if size is not None and size <= min(free, 8 + 4 * MAX_PLAIN_DIMENSIONS):
            chosen.append(name)
            free -= size
    return chosen


def create_table(connection: Connection, contract: Contract, dataset_id: uuid.UUID) -> None:
    """Create the table with its indexes; does nothing if it is this dataset's already.

    Raises TableExists if a table of that name belongs to somebody else, TableBusy (retryable).
    """
    table = record_table(contract)
    if table_owner(connection, contract.name) == _comment(dataset_id):
        return
    require_no_table(connection, contract.name)
    with limited(connection):
        table.create(connection, checkfirst=False)
        _execute(connection, f"COMMENT ON TABLE {data_relation(contract.name)} IS '{_comment(dataset_id)}'")
        for name in plain_columns(contract):
            _set_storage(connection, contract.name, name, "PLAIN")


def require_no_table(connection: Connection, name: str) -> None:
    """Raise TableExists if there is a table of that name."""
    if table_owner(connection, name) is not None:
        raise TableExists(f"The table {DATA_SCHEMA}.{name} exists already and is not this dataset's")


def table_owner(connection: Connection, name: str) -> str | None:
    """Return the comment of the table in the data schema ("" if it has none), or None if there is no such table."""
    found = connection.execute(
        sa.text(
            "SELECT coalesce(obj_description(oid, 'pg_class'), '') FROM pg_class"
            " WHERE relnamespace = to_regnamespace(:schema) AND relname = :name"
        ),
        {"schema": DATA_SCHEMA, "name": name},
    ).scalar()
    return None if found is None else str(found)


def table_owner_id(connection: Connection, name: str) -> uuid.UUID | None:
    """Return the id of the dataset that made the table of that name, or None."""
    comment = table_owner(connection, name) or ""
    try:
        return uuid.UUID(comment.removeprefix(_OWNER)) if comment.startswith(_OWNER) else None
    except ValueError:
        return None


def drop_table(connection: Connection, name: str, dataset_id: uuid.UUID) -> None:
    """Drop the dataset's table if it is there and its own. Raises TableBusy (retryable)."""
    if table_owner(connection, name) == _comment(dataset_id):
        with limited(connection):
            _execute(connection, f"DROP TABLE {data_relation(name)}")


def apply_alter(connection: Connection, old: Contract, new: Contract) -> None:
    """Change the table from ``old`` to ``new``, made by ``alter_contract``. Raises TableBusy (retryable).

    Indexes that ``new`` adds are not built: that takes long, and the table is locked here.
    """
    old_table, new_table = record_table(old), record_table(new)
    preparer = connection.dialect
    actions: list[str] = []
    for field in new.fields:
        column = new_table.c[field.name]
        if not old.has_field(field.name):
            actions.append(f"ADD COLUMN {CreateColumn(column).compile(dialect=preparer)}")
            continue
        before, after = old_table.c[field.name].type.compile(preparer), column.type.compile(preparer)
        if before != after:
            actions.append(f"ALTER COLUMN {quote(field.name)} TYPE {after}")
        if column.nullable and not old_table.c[field.name].nullable:
            actions.append(f"ALTER COLUMN {quote(field.name)} DROP NOT NULL")
    with limited(connection):
        if actions:
            _execute(connection, f"ALTER TABLE {data_relation(new.name)} {', '.join(actions)}")
        _drop_indexes(connection, old_table, new_table)
        for column in new_table.columns:
            if column.comment != (old_table.c[column.name].comment if column.name in old_table.c else None):
                connection.execute(SetColumnComment(column))
        before_plain, after_plain = plain_columns(old), plain_columns(new)
        for name in before_plain:
            if name not in after_plain:
                # Rows with more columns leave less room. Rows that are there already stay as they are.
                _set_storage(connection, new.name, name, "EXTERNAL")
        for name in after_plain:
            if name not in before_plain and not old.has_field(name):
                _set_storage(connection, new.name, name, "PLAIN")


def _drop_indexes(connection: Connection, old: sa.Table, new: sa.Table) -> None:
    """Drop the indexes that the table need not have any more; it may never have got one of them."""
    for name in sorted({str(index.name) for index in old.indexes} - {str(index.name) for index in new.indexes}):
        _execute(connection, f"DROP INDEX IF EXISTS {data_relation(name)}")


def _set_storage(connection: Connection, table: str, column: str, storage: str) -> None:
    _execute(connection, f"ALTER TABLE {data_relation(table)} ALTER COLUMN {quote(column)} SET STORAGE {storage}")


def _comment(dataset_id: uuid.UUID) -> str:
    return f"{_OWNER}{dataset_id}"


def _execute(connection: Connection, sql: str) -> None:
    connection.exec_driver_sql(sql)


@contextlib.contextmanager
def limited(connection: Connection) -> Iterator[None]:
    """Limit how long DDL waits for locks, because every reader has to wait behind it.

    Rewriting a large table may take longer than other statements may: the time limit of the worker ends it.
    """
    _execute(connection, f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'")
    _execute(connection, "SET LOCAL statement_timeout = 0")
    try:
        yield
    except DBAPIError as error:
        # 55P03: lock_not_available; 40P01: deadlock_detected.
        if getattr(error.orig, "pgcode", None) in ("55P03", "40P01"):
            reason = f"a lock on it was not had within {LOCK_TIMEOUT_SECONDS} seconds"
            raise TableBusy(f"The dataset's table is in use: {reason}") from error
        raise
