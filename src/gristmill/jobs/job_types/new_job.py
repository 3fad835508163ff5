"""A job of a declared type, as it is submitted: its arguments are checked, and its scopes named."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from gristmill.jobs.job_types.arguments import as_json, check_arguments
from gristmill.jobs.job_types.declaration import JobType
from gristmill.jobs.job_types.scopes import fill
from gristmill.jobs.submit import NewJob, scope_of_dataset

# Where neither the type nor the submission says a number, and no setting is at hand.
ATTEMPTS = 5


def new_job(
    job_type: JobType,
    args: BaseModel | Mapping[str, Any] | None = None,
    max_attempts: int | None = None,
    run_at: datetime | None = None,
    default_attempts: int = ATTEMPTS,
) -> NewJob:
    """Return the job. Raises Invalid that names each argument that does not fit."""
    stored = as_json(args)
    checked = check_arguments(job_type, stored)
    dataset = None if job_type.dataset is None else fill(job_type.dataset, checked)
    own = f"job_type:{job_type.name}" if dataset is None else scope_of_dataset(dataset)
    further: dict[str, bool] = {}
    for template, hold in job_type.scopes.items():
        scope = fill(template, checked)
        further[scope] = further.get(scope, False) or hold == "exclusive"
    return NewJob(
        type=job_type.name,
        scope=own,
        # Another scope may turn out to be the same one.
        exclusive=further.pop(own, False) or job_type.exclusive,
        args=stored,
        dataset=dataset,
        queue=job_type.queue,
        max_attempts=max_attempts or job_type.max_attempts or default_attempts,
        shares=job_type.shares,
        run_at=run_at,
        further_scopes=further,
    )
