"""Confirmation: what is looked at under the locks of a submission, so that a job may go with its scopes."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from gristmill.jobs.errors import Signal
from gristmill.jobs.repository.submit import JobRow


class NotConfirmed(Signal):
    """The job has to be submitted with other scopes."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """Something to be looked at under the locks of a job's scopes, for all jobs of a ``group`` at once.

    check: gets what each of them asks, and returns for each None, a GristmillError that refuses it, or NotConfirmed
    where it has to be submitted with other scopes.
    """

    group: Hashable
    asked: Any
    check: Callable[[Connection, Sequence[Any]], Sequence[Exception | None]]


def confirm(
    connection: Connection, jobs: Sequence[tuple[JobRow, Confirmation | None]]
) -> Iterator[tuple[int, Exception]]:
    """Yield the place of each job of a batch that is not confirmed, and why."""
    groups: dict[Hashable, list[tuple[int, Confirmation]]] = {}
    for place, (row, confirmation) in enumerate(jobs):
        if confirmation is None:
            continue
        if _is_disturbed(row, [earlier for earlier, _ in jobs[:place]]):
            yield place, NotConfirmed()
        else:
            groups.setdefault(confirmation.group, []).append((place, confirmation))
    for members in groups.values():
        check = members[0][1].check
        errors = check(connection, [confirmation.asked for _, confirmation in members])
        yield from ((place, error) for (place, _), error in zip(members, errors, strict=True) if error is not None)


def _is_disturbed(row: JobRow, earlier: Sequence[JobRow]) -> bool:
    """Say whether a job before this one in its batch is about one of the scopes that this one is confirmed for."""
    others = (other for other in earlier if other.columns["scope"] != row.columns["scope"])
    return any(row.further.keys() & other.scopes.keys() for other in others)
