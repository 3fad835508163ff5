"""The job of a write of records: what all of them have in common."""

from collections.abc import Iterable, Mapping
from typing import Any

from gristmill.datasets.lookup import Dataset
from gristmill.jobs.submit import NewChunk, NewJob


def record_job(
    type_: str,
    dataset: Dataset,
    chunks: Iterable[NewChunk],
    max_attempts: int,
    *,
    exclusive: bool,
    serial: bool = False,
    further: Mapping[str, bool] | None = None,
    **args: Any,
) -> NewJob:
    """Return a job in the scope of ``dataset``, under the version of its contract.

    serial: its chunks run in turn. further: its other scopes, and whether it is exclusive in each.
    """
    return NewJob(
        type=type_,
        scope=dataset.scope,
        exclusive=exclusive,
        args={"dataset_id": str(dataset.id), "contract_version": dataset.version, **args},
        dataset=dataset.name,
        chunks=chunks,
        max_attempts=max_attempts,
        shares=True,
        serial=serial,
        further_scopes=further or {},
    )
