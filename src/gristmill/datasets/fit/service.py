"""Fitting as clients ask for it: an exclusive job, which makes a new version of the contract."""

import uuid
from typing import Any

from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.contract import Contract
from gristmill.datasets.contract_checks import read_structure
from gristmill.datasets.ddl import record_table
from gristmill.datasets.errors import ChangeUnderWay
from gristmill.datasets.fit.schemas import FitRequest
from gristmill.datasets.lookup import DatasetLookup
from gristmill.datasets.parents.above import attach_above
from gristmill.datasets.parents.closure import scopes_read_by
from gristmill.datasets.pipeline import bind_pipeline, is_stored_as_seen
from gristmill.datasets.submit import submit_change
from gristmill.datasets.where import compile_where
from gristmill.jobs.admission import Admission
from gristmill.jobs.submit import NewJob, WriteRequest
from gristmill.transforms.registry import StepRegistry

FIT = "dataset.fit"


class DatasetFit:
    """Submits the job and returns its id."""

    def __init__(self, database: Database, admission: Admission, reader: DatasetLookup, steps: StepRegistry) -> None:
        self._database = database
        self._admission = admission
        self._reader = reader
        self._steps = steps

    def fit(self, name: str, body: Any, request: WriteRequest) -> uuid.UUID:
        """Submit the job that fits steps to the records that were submitted before it. body: a FitRequest.

        Raises UnknownDataset, DatasetFailed, Invalid, and ChangeUnderWay while the contract is being changed.
        """
        wanted = read_structure(FitRequest, body, "")
        if isinstance(wanted, list):
            raise Invalid(f"The body is not valid: {wanted[0].reason}", wanted)

        def work(connection: Connection) -> tuple[NewJob, uuid.UUID, None]:
            dataset = self._reader.get(connection, name, lock=True)
            if dataset.version_state == "pending" and dataset.state == "ready":
                raise ChangeUnderWay(f"The dataset {name} is being changed: fit it when that has ended")
            contract = attach_above(connection, dataset.contract, wanted.where, visible=True)
            compile_where(wanted.where, contract, record_table(contract))
            numbers = self._numbers(dataset.contract, wanted.steps)
            args = {
                "dataset_id": str(dataset.id),
                "version": dataset.version,
                "steps": numbers,
                "where": wanted.where,
            }
            job = NewJob(
                type=FIT,
                scope=dataset.scope,
                exclusive=True,
                args=args,
                dataset=dataset.name,
                queue="long",
                further_scopes=scopes_read_by(wanted.where, contract),
            )
            return job, dataset.id, None

        return submit_change(self._database, self._admission, request, work)

    def _numbers(self, contract: Contract, asked: list[int] | None) -> list[int]:
        """Return the numbers of the steps to fit. Raises Invalid for those that cannot be."""
        steps = bind_pipeline(contract, self._steps)
        columns = {step.number: step.fitting.column for step in steps if step.fitting is not None}
        for place, number in enumerate(asked or ()):
            if number not in columns:
                valid = ", ".join(map(str, columns)) or "none"
                reason = f"The step {number} is none that is fitted; they are: {valid}"
                raise Invalid(reason, [Violation(f"/steps/{place}", "not_applicable", reason, field="steps")])
        if not columns:
            reason = f"The pipeline of {contract.name} has no step that is fitted"
            raise Invalid(reason, [Violation("/steps", "not_applicable", reason, field="steps")])
        numbers = sorted(set(columns if asked is None else asked))
        for number in numbers:
            column = columns[number]
            if not is_stored_as_seen(contract, steps, number, column):
                reason = f"{column}, which the step {number} is fitted to, is not stored as that step sees it"
                raise Invalid(reason, [Violation("/steps", "input_not_stored", reason, field=column)])
        return numbers
