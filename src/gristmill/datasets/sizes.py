"""How large the tables of datasets are: bytes by what they are used for, and rows."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import ProgrammingError

from gristmill.core.database import DATA_SCHEMA, is_undefined_table

EXACT_COUNT_ROWS = 5_000_000

# Of a table that was loaded since it was last analysed the statistics collector knows more than its row in pg_class.
_MEASURE = sa.text("""
SELECT c.relname AS name,
    greatest(CASE WHEN pg_stat_get_live_tuples(c.oid) > 0 THEN pg_stat_get_live_tuples(c.oid) ELSE c.reltuples END, 0)
        ::bigint AS rows,
    coalesce(pg_relation_size(c.oid, 'main') + pg_relation_size(c.oid, 'fsm') + pg_relation_size(c.oid, 'vm'), 0)
        ::bigint AS table_bytes,
    coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0)::bigint AS toast_bytes,
    coalesce(i.others, 0)::bigint AS index_bytes,
    coalesce(i.vectors, 0)::bigint AS vector_index_bytes
FROM pg_class AS c LEFT JOIN LATERAL (
    SELECT sum(pg_relation_size(x.oid)) FILTER (WHERE starts_with(x.relname, c.relname || '__seg')) AS vectors,
        sum(pg_relation_size(x.oid)) FILTER (WHERE NOT starts_with(x.relname, c.relname || '__seg')) AS others
    FROM pg_index AS e JOIN pg_class AS x ON x.oid = e.indexrelid WHERE e.indrelid = c.oid
) AS i ON true
WHERE c.relnamespace = to_regnamespace(:schema) AND c.relname = ANY(:names) AND c.relkind = 'r'
""")


@dataclass(frozen=True, slots=True)
class Sizes:
    """Rows and bytes of a table; no byte is counted twice. ``exact`` is false when the rows are an estimate.

    toast_bytes: values stored out of line. vector_index_bytes: indexes of segments; index_bytes: all others.
    """

    rows: int = 0
    exact: bool = True
    table_bytes: int = 0
    toast_bytes: int = 0
    index_bytes: int = 0
    vector_index_bytes: int = 0

    def as_json(self) -> dict[str, int]:
        """Return the bytes, and their sum as ``total_bytes``."""
        found = {name: value for name, value in asdict(self).items() if name.endswith("_bytes")}
        return {**found, "total_bytes": sum(found.values())}


NOTHING = Sizes()


def estimate(connection: Connection, names: Sequence[str]) -> dict[str, Sizes]:
    """Return the sizes of the tables that are there, by name, without counting a row: one statement for all."""
    found = connection.execute(_MEASURE, {"schema": DATA_SCHEMA, "names": list(names)}).mappings()
    return {row["name"]: Sizes(exact=False, **{k: v for k, v in row.items() if k != "name"}) for row in found}


def measure(connection: Connection, name: str) -> Sizes:
    """Return rows and bytes of a dataset's table; all zero while there is none.

    Up to five million rows are counted; above that the rows are an estimate.
    """
    sizes = estimate(connection, [name]).get(name)
    if sizes is None:
        return NOTHING
    if sizes.rows > EXACT_COUNT_ROWS:
        return sizes
    try:
        table = sa.table(name, schema=DATA_SCHEMA)
        rows = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
    except ProgrammingError as error:
        if not is_undefined_table(error):
            raise
        return NOTHING
    return replace(sizes, rows=int(rows), exact=True)
