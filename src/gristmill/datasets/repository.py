"""SQL of the dataset domain: datasets and versions of their contracts."""

import json
import uuid
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from gristmill.core.database import DATA_SCHEMA, data_relation
from gristmill.datasets.tables import LIVE_STATES, dataset_versions, datasets
from gristmill.jobs.repository import read as jobs

Row = sa.RowMapping

_LIVE = datasets.c.state.in_(LIVE_STATES)
_LIVE_TEXT = sa.text("state IN (" + ", ".join(f"'{state}'" for state in LIVE_STATES) + ")")

# A change whose job failed or was cancelled, or whose job is forgotten, will never be applied: its version fails, the
# highest of the others becomes visible, and a dataset without its first version has failed as a whole. Cancelling and
# the loss of workers run no handler, so whoever meets a pending version runs this. One statement, thus atomic anywhere.
_SETTLE = """
WITH abandoned AS (
    UPDATE gristmill.dataset_versions AS v SET state = 'failed' FROM unnest(%(versions)s::int[]) AS lost (version)
    WHERE v.dataset_id = %(id)s AND v.version = lost.version AND v.state = 'pending'
    RETURNING v.version
), shown AS (
    SELECT version, contract FROM gristmill.dataset_versions
    WHERE dataset_id = %(id)s AND state <> 'failed' AND version NOT IN (SELECT version FROM abandoned)
    ORDER BY version DESC LIMIT 1
)
UPDATE gristmill.datasets AS d SET
    version = coalesce((SELECT version FROM shown), d.version),
    contract = coalesce((SELECT contract FROM shown), d.contract),
    state = CASE WHEN d.state = 'creating' AND 1 IN (SELECT version FROM abandoned) THEN 'failed' ELSE d.state END,
    error = CASE WHEN d.state = 'failed' THEN d.error
        ELSE (SELECT nullif(%(errors)s::jsonb -> version::text, 'null') FROM abandoned ORDER BY version LIMIT 1) END
WHERE d.id = %(id)s AND EXISTS (SELECT FROM abandoned)
"""
# By the contract that the table has: a change that is still on its way may yet be cancelled.
_APPLIED_WITH = """
SELECT d.id, d.name, v.contract FROM gristmill.datasets AS d, LATERAL (
    SELECT contract FROM gristmill.dataset_versions
    WHERE dataset_id = d.id AND state = 'applied' ORDER BY version DESC LIMIT 1
) AS v
WHERE d.state = 'ready' AND v.contract ? %(member)s AND (%(id)s::uuid IS NULL OR d.id = %(id)s::uuid) ORDER BY d.id
"""

_CHANGED = """
SELECT relname FROM pg_stat_user_tables
WHERE schemaname = %(schema)s AND n_mod_since_analyze >= greatest(%(least)s, %(part)s * n_live_tup)
    AND NOT (relname = ANY(%(not_now)s))
ORDER BY n_mod_since_analyze DESC LIMIT 1
"""

_PENDING = (
    sa.exists()
    .where(dataset_versions.c.dataset_id == datasets.c.id, dataset_versions.c.state == "pending")
    .correlate(datasets)
    .label("pending")
)


def find_live(connection: Connection, name: str, lock: bool = False) -> Row | None:
    """Return the dataset that holds ``name`` (creating, ready or failed) and whether it has a ``pending`` version.

    lock: keep others from changing it until the transaction ends.
    """
    query = sa.select(datasets, _PENDING).where(datasets.c.name == name, _LIVE)
    return connection.execute(query.with_for_update(of=datasets) if lock else query).mappings().first()


def find(connection: Connection, dataset_id: uuid.UUID, lock: bool = False) -> Row | None:
    query = sa.select(datasets).where(datasets.c.id == dataset_id)
    return connection.execute(query.with_for_update() if lock else query).mappings().first()


def list_live(connection: Connection, after: str, limit: int) -> list[Row]:
    """Return datasets in the order of their names, those after ``after``."""
    query = sa.select(datasets, _PENDING).where(_LIVE, datasets.c.name > after).order_by(datasets.c.name).limit(limit)
    return list(connection.execute(query).mappings())


def list_embedded(connection: Connection) -> list[Row]:
    """Return the datasets whose vectors an embedder makes."""
    query = sa.select(datasets).where(_LIVE, datasets.c.embedder_name.is_not(None)).order_by(datasets.c.name)
    return list(connection.execute(query).mappings())


def insert_dataset(connection: Connection, values: dict[str, Any]) -> bool:
    """Insert a dataset in the state ``creating``. False: another one holds the name."""
    query = insert(datasets).values(state="creating", version=1, **values)
    query = query.on_conflict_do_nothing(index_elements=["name"], index_where=_LIVE_TEXT)
    return connection.execute(query.returning(datasets.c.id)).first() is not None


def insert_version(connection: Connection, dataset_id: uuid.UUID, contract: dict[str, Any]) -> int:
    """Insert the next version as pending and return its number."""
    highest = sa.select(sa.func.coalesce(sa.func.max(dataset_versions.c.version), 0) + 1)
    number = connection.execute(highest.where(dataset_versions.c.dataset_id == dataset_id)).scalar_one()
    connection.execute(
        sa.insert(dataset_versions).values(dataset_id=dataset_id, version=number, contract=contract, state="pending")
    )
    return int(number)


def find_version(connection: Connection, dataset_id: uuid.UUID, version: int) -> Row | None:
    query = sa.select(dataset_versions).where(
        dataset_versions.c.dataset_id == dataset_id, dataset_versions.c.version == version
    )
    return connection.execute(query).mappings().first()


def find_states(connection: Connection, dataset_id: uuid.UUID, version: int) -> Row | None:
    """Return a dataset and the state of one of its versions (``version_state``), without the contract."""
    query = sa.select(
        datasets.c.id,
        datasets.c.name,
        datasets.c.state,
        datasets.c.error,
        datasets.c.embedder_version,
        datasets.c.created_at,
        datasets.c.hierarchy,
        dataset_versions.c.version,
        dataset_versions.c.state.label("version_state"),
    ).join_from(datasets, dataset_versions, datasets.c.id == dataset_versions.c.dataset_id)
    query = query.where(datasets.c.id == dataset_id, dataset_versions.c.version == version)
    return connection.execute(query).mappings().first()


def list_names(connection: Connection, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, tuple[str, str]]:
    """Return (name, state) of each of these datasets, dropped ones included."""
    query = sa.select(datasets.c.id, datasets.c.name, datasets.c.state).where(datasets.c.id.in_(ids))
    return {row.id: (row.name, row.state) for row in connection.execute(query)}


def find_applied(connection: Connection, dataset_id: uuid.UUID) -> Row | None:
    """Return the highest version that the table has."""
    query = sa.select(dataset_versions).where(
        dataset_versions.c.dataset_id == dataset_id, dataset_versions.c.state == "applied"
    )
    return connection.execute(query.order_by(dataset_versions.c.version.desc()).limit(1)).mappings().first()


def has_later_version(connection: Connection, dataset_id: uuid.UUID, version: int) -> bool:
    """Say whether a version above ``version`` is pending or applied."""
    query = sa.select(sa.func.count()).where(
        dataset_versions.c.dataset_id == dataset_id,
        dataset_versions.c.version > version,
        dataset_versions.c.state != "failed",
    )
    return bool(connection.execute(query).scalar_one())


def is_being_renamed(connection: Connection, dataset_id: uuid.UUID) -> bool:
    """Say whether a version that is not yet applied has another name."""
    query = sa.select(sa.func.count()).where(
        datasets.c.id == dataset_id,
        dataset_versions.c.dataset_id == dataset_id,
        dataset_versions.c.state == "pending",
        dataset_versions.c.contract["name"].astext != datasets.c.name,
    )
    return bool(connection.execute(query).scalar_one())


def embedder_of(connection: Connection, dataset_id: uuid.UUID) -> dict[str, Any]:
    """Return the columns that say which embedder made the vectors of a dataset."""
    columns = (datasets.c.embedder_name, datasets.c.embedder_version, datasets.c.embedder_dimensions)
    return dict(connection.execute(sa.select(*columns).where(datasets.c.id == dataset_id)).mappings().one())


def set_version_state(connection: Connection, dataset_id: uuid.UUID, version: int, state: str) -> None:
    connection.execute(
        sa.update(dataset_versions)
        .where(dataset_versions.c.dataset_id == dataset_id, dataset_versions.c.version == version)
        .values(state=state)
    )


def set_state(connection: Connection, dataset_id: uuid.UUID, state: str, error: dict[str, Any] | None = None) -> None:
    """Set the state of a dataset and, unless None, the reason for it; ``dropped`` notes the time too."""
    values: dict[str, Any] = {"state": state, "error": sa.null() if error is None else error}
    if state == "dropped":
        values["dropped_at"] = sa.func.now()
    connection.execute(sa.update(datasets).where(datasets.c.id == dataset_id).values(**values))


def show_version(connection: Connection, dataset_id: uuid.UUID, version: int, contract: dict[str, Any]) -> None:
    """Make a version the visible one."""
    connection.execute(
        sa.update(datasets).where(datasets.c.id == dataset_id).values(version=version, contract=contract)
    )


def set_version_job(connection: Connection, dataset_id: uuid.UUID, version: int, job_id: uuid.UUID) -> None:
    """Note which job applies a version; in the same transaction as the version and the job."""
    connection.execute(
        sa.update(dataset_versions)
        .where(dataset_versions.c.dataset_id == dataset_id, dataset_versions.c.version == version)
        .values(job_id=job_id)
    )


def fail_abandoned(connection: Connection, dataset_id: uuid.UUID) -> None:
    """Mark versions that will never be applied as failed and show the highest of the others."""
    pending = sa.select(dataset_versions.c.job_id, dataset_versions.c.version).where(
        dataset_versions.c.dataset_id == dataset_id,
        dataset_versions.c.state == "pending",
        dataset_versions.c.job_id.is_not(None),
    )
    by_job = {row.job_id: row.version for row in connection.execute(pending)}
    lost = {by_job[job_id]: error for job_id, error in jobs.in_vain(connection, list(by_job)).items()} if by_job else {}
    if lost:
        parameters = {"id": str(dataset_id), "versions": list(lost), "errors": json.dumps(lost)}
        connection.exec_driver_sql(_SETTLE, parameters)


def list_ready_with(connection: Connection, member: str) -> list[tuple[uuid.UUID, str]]:
    """Return (id, name) of the ready datasets whose visible contract has the member, in the order of their names."""
    query = sa.select(datasets.c.id, datasets.c.name).where(
        datasets.c.state == "ready", datasets.c.contract.has_key(member)
    )
    return [(row[0], row[1]) for row in connection.execute(query.order_by(datasets.c.name))]


def list_applied_with(
    connection: Connection, member: str, dataset_id: uuid.UUID | None = None, lock: bool = False
) -> list[tuple[uuid.UUID, str, dict[str, Any]]]:
    """Return (id, name, contract) of the ready datasets, or the one, whose table's contract has the member.

    lock: until the transaction ends they are not dropped, and the tables of their names are theirs.
    """
    query = _APPLIED_WITH + (" FOR SHARE OF d" if lock else "")
    values = {"member": member, "id": None if dataset_id is None else str(dataset_id)}
    return [(row[0], row[1], row[2]) for row in connection.exec_driver_sql(query, values)]


def release_failed(connection: Connection, name: str) -> None:
    """Give the name of a failed dataset free; whatever is left of its table goes when the name is created anew."""
    connection.execute(
        sa.update(datasets)
        .where(datasets.c.name == name, datasets.c.state == "failed")
        .values(state="dropped", dropped_at=sa.func.now())
    )


def find_changed(connection: Connection, least: int, part: float, not_now: list[str]) -> str | None:
    """Return the table that has changed most since it was analysed: ``least`` rows, and that part of all of them."""
    parameters = {"schema": DATA_SCHEMA, "least": least, "part": part, "not_now": not_now}
    found: str | None = connection.exec_driver_sql(_CHANGED, parameters).scalar()
    return found


def analyze(connection: Connection, table: str, lock_timeout: str) -> None:
    """Analyse the table, unless its lock cannot be had for so long: then Contended ends the transaction."""
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{lock_timeout}'")
    connection.exec_driver_sql(f"ANALYZE {data_relation(table)}")
