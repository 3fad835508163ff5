"""Confirmation: what is looked at under the locks of a submission, so that a job may go with its scopes."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from gristmill.jobs.errors import Signal
from gristmill.jobs.repository.scopes import may_be_changed
from gristmill.jobs.repository.submit import JobRow


class NotConfirmed(Signal):
    """The job has to be submitted with other scopes."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What has to be so for a job to be submitted with its scopes, asked for all jobs of a ``group`` at once.

    Under the locks of its scopes no unfinished job may still change what its further ones stand for. Then ``check``
    gets what each of the jobs asks, and returns for each None or a GristmillError that refuses it.
    """

    group: Hashable
    asked: Any
    check: Callable[[Connection, Sequence[Any]], Sequence[Exception | None]]


def confirm(
    connection: Connection, jobs: Sequence[tuple[JobRow, Confirmation | None]], *, wait: bool
) -> Iterator[tuple[int, Exception]]:
    """Take the locks of the jobs' scopes; yield the place of each job that is not confirmed, and why.

    wait: as of ``insert_jobs``, which says who has not got its locks.
    """
    groups: dict[Hashable, list[tuple[int, JobRow, Confirmation]]] = {}
    for place, (row, confirmation) in enumerate(jobs):
        if confirmation is None:
            continue
        if _is_disturbed(row, [earlier for earlier, _ in jobs[:place]]):
            yield place, NotConfirmed()
        else:
            groups.setdefault(confirmation.group, []).append((place, row, confirmation))
    locks = [row for row, _ in jobs]
    for members in groups.values():
        _, row, confirmation = members[0]
        if may_be_changed(connection, list(row.further), row.columns["scope"], locks, wait=wait):
            yield from ((place, NotConfirmed()) for place, _, _ in members)
        else:
            errors = confirmation.check(connection, [one.asked for _, _, one in members])
            yield from ((one[0], error) for one, error in zip(members, errors, strict=True) if error is not None)
        # They are held now.
        locks = []


def _is_disturbed(row: JobRow, earlier: Sequence[JobRow]) -> bool:
    """Say whether a job before this one in its batch is about one of the scopes that this one is confirmed for."""
    others = (other for other in earlier if other.columns["scope"] != row.columns["scope"])
    return any(row.further.keys() & other.scopes.keys() for other in others)
