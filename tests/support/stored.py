"""Datasets with records for tests of reads: made and filled without jobs, through the same tables."""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from gristmill.core.database import Database
from gristmill.datasets import ddl, repository
from gristmill.datasets.contract import Contract
from gristmill.datasets.contract_parser import KnownEmbedder, parse_contract
from gristmill.datasets.lookup import Dataset, DatasetLookup
from gristmill.datasets.types import TYPES
from gristmill.kit.ids import uuid7

EMBEDDERS = {"static": KnownEmbedder(256), "hashing": KnownEmbedder(256)}


def make_dataset(database: Database, body: dict[str, Any], *, ready: bool = True) -> Dataset:
    """Create a dataset; unless ``ready`` its table does not exist yet."""
    contract = parse_contract(body, EMBEDDERS)
    dataset_id = uuid7()
    with database.transaction() as connection:
        embedder = contract.embedding.embedder if contract.embedding else None
        values = {"id": dataset_id, "name": contract.name, "contract": contract.as_json(), "embedder_name": embedder}
        assert repository.insert_dataset(connection, values)
        version = repository.insert_version(connection, dataset_id, contract.as_json())
        repository.set_version_job(connection, dataset_id, version, _queued_job(connection))
        if ready:
            ddl.create_table(connection, contract, dataset_id)
            repository.set_version_state(connection, dataset_id, version, "applied")
            repository.set_state(connection, dataset_id, "ready")
        return DatasetLookup().get(connection, contract.name)


def store(
    database: Database,
    contract: Contract,
    records: Iterable[dict[str, Any]],
    vectors: Sequence[Sequence[float] | None] | None = None,
    seq: int = 1,
) -> None:
    """Insert records given as JSON has them, in place of those with the same key."""
    table = ddl.record_table(contract)
    rows = []
    for place, record in enumerate(records):
        row = {
            field.name: None
            if record.get(field.name) is None
            else TYPES[field.type].parse(field.without_bounds(), record[field.name])
            for field in contract.fields
        }
        rows.append({**row, "_seq": seq, "_ord": place, **({} if vectors is None else {"_embedding": vectors[place]})})
    with database.transaction() as connection:
        if contract.key:
            keys = sa.tuple_(*(table.c[name] for name in contract.key))
            connection.execute(
                sa.delete(table).where(keys.in_([tuple(row[name] for name in contract.key) for row in rows]))
            )
        connection.execute(sa.insert(table), rows)


def _queued_job(connection: sa.Connection) -> uuid.UUID:
    """Insert the job that a pending version waits for: without one it would be taken for abandoned."""
    job_id = uuid7()
    connection.exec_driver_sql(
        "INSERT INTO gristmill.jobs (id, seq, type, scope, exclusive, state, queue, priority, args, labels,"
        " submitted_by, request_id, max_attempts, chunks_total, records_total)"
        " VALUES (%(id)s, nextval('gristmill.job_number'), 'dataset.create', 'none', true, 'queued', 'default', 5,"
        " '{}', '{}', 'test', 'test', 1, 1, 0)",
        {"id": str(job_id)},
    )
    return job_id
