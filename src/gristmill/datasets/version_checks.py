"""Whether a dataset still stands as a write was validated against it: one narrow query each, on the hot path.

If the answer is yes, no further check is needed. Otherwise the caller asks ``DatasetLookup``, which raises the exact
error.
"""

from sqlalchemy import Connection

from gristmill.core.prepared import Prepared, execute
from gristmill.datasets.lookup import Dataset

_TYPES = {"id": "uuid", "version": "int", "hierarchy": "int"}
# A count, not EXISTS: for a batch of jobs Postgres might read all datasets instead of looking each one up.
_CONDITION = """
(SELECT count(*) FROM gristmill.datasets AS d
    WHERE d.id = {dataset_id} AND d.version = {version} AND d.state IN ('creating', 'ready')
        AND coalesce({hierarchy}, d.hierarchy) = d.hierarchy
        AND NOT EXISTS (SELECT FROM gristmill.dataset_versions AS v
            WHERE v.dataset_id = d.id AND v.state = 'pending')) = 1
"""
_VISIBLE = Prepared(
    "SELECT " + _CONDITION.format(dataset_id="%(id)s", version="%(version)s", hierarchy="%(hierarchy)s"), **_TYPES
)
# Of ``g``, a job that is about to be submitted: what its arguments name is what clients see. Those that depend on what
# is below the dataset name its ``hierarchy``.
VISIBLE = _CONDITION.format(
    dataset_id="(g.args ->> 'dataset_id')::uuid",
    version="(g.args ->> 'contract_version')::int",
    hierarchy="(g.args ->> 'hierarchy')::int",
)
_APPLIED = Prepared(
    """
SELECT EXISTS (SELECT FROM gristmill.datasets AS d
    WHERE d.id = %(id)s AND d.state = 'ready' AND d.hierarchy = %(hierarchy)s
        AND (SELECT max(v.version) FROM gristmill.dataset_versions AS v
            WHERE v.dataset_id = d.id AND v.state = 'applied') = %(version)s)
""",
    **_TYPES,
)
# The same check, sent in one message with the statement that depends on it: if the answer is no, it fails with error
# 22012 (division by zero), which ends the message before that statement.
STILL_APPLIED = Prepared(
    """
SELECT 1 / count(*) FROM gristmill.datasets AS d
WHERE d.id = %(dataset_id)s AND d.state = 'ready'
    AND (SELECT max(v.version) FROM gristmill.dataset_versions AS v
        WHERE v.dataset_id = d.id AND v.state = 'applied') = %(dataset_version)s
""",
    dataset_id="uuid",
    dataset_version="int",
)
NOT_APPLIED = "22012"
_LATEST = "SELECT max(version) FROM gristmill.dataset_versions WHERE dataset_id = %(id)s AND state = 'applied'"


def is_visible(connection: Connection, dataset: Dataset) -> bool:
    """Say whether clients see exactly this dataset in this version, and no change of it, or below it, is on its way."""
    return _ask(connection, _VISIBLE, dataset)


def is_applied(connection: Connection, dataset: Dataset) -> bool:
    """Say whether the dataset is ready, its table has exactly this version of the contract, nothing below is new."""
    return _ask(connection, _APPLIED, dataset)


def latest_applied(connection: Connection, dataset: Dataset) -> int:
    """Return the version of the contract that the table has; that of ``dataset`` must be applied."""
    return int(connection.exec_driver_sql(_LATEST, {"id": str(dataset.id)}).scalar_one())


def _ask(connection: Connection, query: Prepared, dataset: Dataset) -> bool:
    values = {"id": str(dataset.id), "version": dataset.version, "hierarchy": dataset.hierarchy}
    return bool(execute(connection, values, query).scalar())
