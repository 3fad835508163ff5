"""Handler of ``dataset.fit``."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DataError

from gristmill.core.database import set_time_limit
from gristmill.datasets import repository
from gristmill.datasets.contract import load_contract
from gristmill.datasets.errors import ChangeFailed
from gristmill.datasets.extensions import DatasetExtension
from gristmill.datasets.fit.repository import statistics
from gristmill.datasets.fit.service import FIT
from gristmill.datasets.lookup import DROPPED
from gristmill.datasets.pipeline import bind_pipeline
from gristmill.datasets.schemas import contract_tag
from gristmill.datasets.tasks import DatasetHandler, id_of, require_ready
from gristmill.jobs.errors import JobDropped
from gristmill.jobs.handlers import ChunkTask, Outcome
from gristmill.transforms.registry import StepRegistry


class FitHandler(DatasetHandler):
    """Writes the statistics of stored values into steps, as a new version. args: dataset_id, version, steps, where.

    Records that were validated under an earlier version pass the steps of that one.
    """

    type = FIT
    queue = "long"

    def __init__(self, extensions: Sequence[DatasetExtension], steps: StepRegistry) -> None:
        super().__init__(extensions)
        self._steps = steps

    def apply(self, connection: Connection, task: ChunkTask, prepared: Any) -> Outcome:
        # Nothing else of the dataset's name runs beside this job. Its row is locked at the end, as those who submit
        # changes would wait for it.
        row = self._unchanged(connection, task, lock=False)
        body = row["contract"]
        contract, numbers = load_contract(body), task.args["steps"]
        steps = bind_pipeline(contract, self._steps)
        # The service submits none but those that are fitted.
        asked = [one for number in numbers if (one := steps[number].fitting) is not None]
        # However many records there are: the time limit of the worker ends it.
        set_time_limit(connection, 0)
        try:
            found = statistics(connection, contract, task.args["where"], asked)
        except DataError as error:
            raise ChangeFailed("The statistics of these values are beyond the range of floats") from error
        set_time_limit(connection, None)
        row = self._unchanged(connection, task, lock=True)
        pipeline = list(body["pipeline"])
        for number, fitting, values in zip(numbers, asked, found, strict=True):
            if values is None:
                raise ChangeFailed(
                    f"The step {number} cannot be fitted: {fitting.column} has no value in these records"
                )
            pipeline[number] = {**pipeline[number], "fitted": values}
        fitted = {**body, "pipeline": pipeline}
        # Statistics that the step refuses, such as infinite ones, end here.
        bind_pipeline(load_contract(fitted), self._steps)
        version = repository.insert_version(connection, row["id"], fitted)
        repository.set_version_job(connection, row["id"], version, task.job_id)
        repository.set_version_state(connection, row["id"], version, "applied")
        repository.show_version(connection, row["id"], version, fitted)
        result = {"version": version, "etag": str(contract_tag(row["id"], version))}
        return Outcome(result={**result, "fitted": {str(n): one for n, one in zip(numbers, found, strict=True)}})

    def _unchanged(self, connection: Connection, task: ChunkTask, lock: bool) -> repository.Row:
        """Return the dataset, with the contract that was fitted. Raises JobDropped, DatasetFailed, ChangeFailed."""
        row = self.dataset(connection, task) if lock else repository.find(connection, id_of(task))
        if row is None or row["state"] in ("dropping", "dropped"):
            raise JobDropped(DROPPED)
        require_ready(connection, row)
        if row["version"] != task.args["version"]:
            raise ChangeFailed(f"The contract of {row['name']} was changed since: fit it again")
        return row
