"""SQLAlchemy's ORM with pgvector: one bulk insert of all rows in one transaction.

Plan: {url, parquet (files), rows}.

Settings: ``session.execute(insert(Model), [dict, …])``, which docs.sqlalchemy.org/orm/queryguide/dml.html names
for bulk inserts, the engine's defaults otherwise; the vector column is pgvector's own type
(github.com/pgvector/pgvector-python, "SQLAlchemy"). Both drivers are tried; no index but the primary key.
"""

import json
import sys
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from pgvector.sqlalchemy import Vector
from sqlalchemy import BigInteger, create_engine, func, insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class _Base(DeclarativeBase):
    pass


class Item(_Base):
    __tablename__ = "orm"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    name: Mapped[str]
    summary: Mapped[str]
    section: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    embedding: Mapped[Any] = mapped_column(Vector(256))


def main() -> None:
    plan = json.load(sys.stdin)
    table = pq.read_table(plan["parquet"]).slice(0, plan["rows"])
    rows = table.drop_columns(["_embedding"]).to_pylist()
    for row, vector in zip(rows, np.stack(table.column("_embedding").to_numpy()), strict=True):
        row["embedding"] = vector
    drivers = {driver: _load(plan["url"], driver, rows) for driver in ("psycopg", "psycopg2")}
    versions = {package: version(package) for package in ("SQLAlchemy", "pgvector", "psycopg", "psycopg2-binary")}
    print(json.dumps({"versions": versions, "drivers": drivers, "rows_per_second": max(drivers.values())}))


def _load(url: str, driver: str, rows: list[dict[str, Any]]) -> float:
    engine = create_engine(url.replace("postgresql://", f"postgresql+{driver}://"))
    _Base.metadata.drop_all(engine)
    _Base.metadata.create_all(engine)
    began = time.perf_counter()
    with Session(engine) as session:
        session.execute(insert(Item), rows)
        session.commit()
    seconds = time.perf_counter() - began
    with Session(engine) as session:
        stored = session.scalar(select(func.count()).select_from(Item))
    _Base.metadata.drop_all(engine)
    engine.dispose()
    if stored != len(rows):
        raise RuntimeError(f"{stored} of {len(rows)} rows are there")
    return round(len(rows) / seconds, 1)


if __name__ == "__main__":
    main()
