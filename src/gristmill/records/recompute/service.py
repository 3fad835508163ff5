"""Recomputing as clients ask for it."""

from gristmill.core.config import Settings
from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.contract import Contract
from gristmill.datasets.ddl import record_table
from gristmill.datasets.describe import shorten
from gristmill.datasets.lookup import Dataset
from gristmill.datasets.parents.closure import scopes_above
from gristmill.datasets.where import compile_where
from gristmill.jobs.submit import NewChunk
from gristmill.records.bodies import read_body
from gristmill.records.changes.plan import plan_fields
from gristmill.records.jobs import record_job
from gristmill.records.recompute.schemas import RecomputeRequest
from gristmill.records.recompute.tasks import RECOMPUTE
from gristmill.records.submit import Draft, Write
from gristmill.records.transform import Pipelines


class RecordRecompute:
    """Returns a write, which the submitter submits as one job."""

    def __init__(self, settings: Settings, pipelines: Pipelines) -> None:
        self._max_attempts = settings.jobs_max_attempts
        self._pipelines = pipelines

    def recompute(self, name: str, raw: bytes) -> Write:
        """Make computed fields anew of what is stored. raw: a RecomputeRequest.

        Submitting it raises UnknownDataset, DatasetFailed; Malformed, Invalid; InputNotStored where a field is made of
        something that is not stored.
        """
        request = read_body(RecomputeRequest, raw)

        def draft(dataset: Dataset) -> Draft:
            contract = dataset.contract
            fields = _fields(contract, request)
            compile_where(request.where, contract, record_table(contract))
            plan = plan_fields(contract, self._pipelines.steps(contract), fields)
            chunk = NewChunk(first_record=0, records=0, payload=None)
            job = record_job(
                RECOMPUTE,
                dataset,
                [chunk],
                self._max_attempts,
                exclusive=True,
                further=scopes_above(contract, plan.writes),
                fields=fields,
                where=request.where,
            )
            # It may take hours.
            job.queue, job.shares = "long", False
            return Draft(job)

        return Write(name, 0, draft, lambda _: False)


def _fields(contract: Contract, request: RecomputeRequest) -> list[str]:
    computed = sorted(contract.computed_fields)
    if not computed:
        reason = f"The dataset {contract.name} has no computed field"
        raise Invalid(reason, [Violation("/fields", "not_computed", reason, field="fields")])
    for index, name in enumerate(request.fields or ()):
        if name not in computed:
            reason = f"{shorten(name)} is no computed field; they are: {', '.join(computed)}"
            raise Invalid(reason, [Violation(f"/fields/{index}", "not_computed", reason, field=name)])
    return sorted(set(request.fields or computed))
