"""SQL of the hold that keeps the builds of one dataset back."""

import uuid

from sqlalchemy import Connection

_HELD = "SELECT hold FROM gristmill.index_settings WHERE dataset_id = %(dataset_id)s"
_SET_HOLD = """
INSERT INTO gristmill.index_settings (dataset_id, hold, changed_by) VALUES (%(dataset_id)s, %(hold)s, %(principal)s)
ON CONFLICT (dataset_id) DO UPDATE SET hold = EXCLUDED.hold, changed_by = EXCLUDED.changed_by, changed_at = now()
"""


def is_held(connection: Connection, dataset_id: uuid.UUID) -> bool:
    """Say whether the dataset's builds are held back."""
    return bool(connection.exec_driver_sql(_HELD, {"dataset_id": str(dataset_id)}).scalar())


def set_hold(connection: Connection, dataset_id: uuid.UUID, hold: bool, principal: str) -> None:
    values = {"dataset_id": str(dataset_id), "hold": hold, "principal": principal}
    connection.exec_driver_sql(_SET_HOLD, values)
