"""What clients ask of a dataset's index: the plan report, holding builds back, a rebuild."""

import uuid
from typing import Any

from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.errors import Conflict, Invalid, Violation
from gristmill.datasets.applied import dropped_is_unknown
from gristmill.datasets.describe import shorten
from gristmill.datasets.lookup import Dataset, DatasetLookup
from gristmill.jobs.admission import Admission
from gristmill.jobs.submit import NewJob, WriteRequest, submit_once
from gristmill.search.errors import NotSearchable
from gristmill.search.index.report import plan_report
from gristmill.search.index.settings import BuildSettings
from gristmill.search.index.tasks import index_rebuild
from gristmill.search.repository import holds


class IndexService:
    """The index of one dataset, as its owner sees and controls it."""

    def __init__(
        self, database: Database, datasets: DatasetLookup, admission: Admission, settings: BuildSettings
    ) -> None:
        self._database = database
        self._datasets = datasets
        self._admission = admission
        self._settings = settings

    def report(self, name: str) -> dict[str, Any]:
        """Return the plan report. Raises UnknownDataset, DatasetFailed, NotSearchable, Conflict while it is made."""
        with self._database.autocommit() as connection, dropped_is_unknown(name):
            return plan_report(connection, self.find(connection, name), self._settings)

    def change(self, name: str, body: Any, principal: str) -> dict[str, Any]:
        """Hold builds back, or let them go on: ``{"hold": true}``; return the plan report.

        Raises Invalid, and what ``report`` raises. A build that runs goes on to its end.
        """
        hold = _checked(body)
        with self._database.transaction() as connection:
            dataset = self.find(connection, name)
            holds.set_hold(connection, dataset.id, hold, principal)
        return self.report(name)

    def rebuild(self, name: str, request: WriteRequest) -> uuid.UUID:
        """Submit the job that builds everything anew. Raises as ``report`` does, and TooMany."""
        self._admission.check()

        def work(connection: Connection) -> NewJob:
            dataset = self.find(connection, name)
            return index_rebuild(dataset.id, dataset.name)

        return submit_once(self._database, request, work)

    def find(self, connection: Connection, name: str) -> Dataset:
        """Return the dataset. Raises UnknownDataset, DatasetFailed, NotSearchable, Conflict while it is made."""
        dataset = self._datasets.get(connection, name)
        if dataset.contract.embedding is None:
            reason = f"The dataset {name} has no embedding, so it has no vector index"
            raise NotSearchable(reason, [Violation("/path/dataset", "no_embedding", reason)])
        if dataset.state != "ready":
            raise Conflict(f"The dataset {name} is still being created")
        return dataset


def _checked(body: Any) -> bool:
    if not isinstance(body, dict):
        reason = f"{shorten(body)} is not a JSON object"
        raise Invalid(reason, [Violation("", "wrong_type", reason)])
    violations = [
        Violation(f"/{name[:80]}", "unknown_member", f"There is no member {shorten(name)} here; the only one is hold")
        for name in body
        if name != "hold"
    ]
    hold = body.get("hold")
    if not isinstance(hold, bool):
        reason = f"{shorten(hold)} is neither true nor false" if "hold" in body else "Say true or false"
        violations.append(Violation("/hold", "wrong_type" if "hold" in body else "missing", reason, field="hold"))
    if violations:
        raise Invalid(violations[0].reason, violations)
    return bool(hold)
