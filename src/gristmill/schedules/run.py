"""Schedules that are due become jobs: what a dispatcher does now and then."""

from datetime import datetime, timedelta

from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.errors import GristmillError, Invalid, TooMany, Unavailable
from gristmill.core.logs import get_logger
from gristmill.datasets.lookup import DatasetLookup
from gristmill.jobs.admission import Admission
from gristmill.jobs.job_types.catalogue import Catalogue
from gristmill.jobs.job_types.declaration import JobType
from gristmill.jobs.job_types.new_job import new_job
from gristmill.jobs.job_types.submission import must_be_there
from gristmill.jobs.repository import submit as jobs
from gristmill.jobs.repository.read import unfinished
from gristmill.jobs.repository.submit import JobRow
from gristmill.jobs.submit import WriteRequest, small_row
from gristmill.kit.ids import uuid7
from gristmill.kit.timestamps import rfc3339
from gristmill.schedules import repository
from gristmill.schedules.creators import check_creator
from gristmill.schedules.repository import Note, Schedule
from gristmill.schedules.schemas import NAME_LABEL, TIME_LABEL
from gristmill.schedules.states import Overlap

log = get_logger()
# Seconds between two looks: one short statement each while nothing is due.
EVERY = 0.25
# After which a schedule is looked at again whose job type this dispatcher does not know.
AGAIN = timedelta(seconds=30)
# Schedules whose jobs share a transaction.
MOST = 200


class ScheduleRunner:
    """Every dispatcher may have one: a schedule that is in the hands of another one is passed over."""

    def __init__(
        self, database: Database, catalogue: Catalogue, datasets: DatasetLookup, admission: Admission, most: int = MOST
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._datasets = datasets
        self._admission = admission
        self._most = most

    def run(self) -> int:
        """Submit the jobs of all schedules that are due; return how many.

        One that was due several times, as nobody was there to see it, runs once. A schedule whose job cannot be
        submitted is paused with the reason. Raises Unavailable, and TooMany while the queue has its fill: both are
        tried again.
        """
        made = 0
        while True:
            seen, submitted = self._pass()
            made += submitted
            if seen < self._most:
                return made

    def _pass(self) -> tuple[int, int]:
        with self._database.transaction() as connection:
            due = repository.take_due(connection, self._most)
            if not due:
                return 0, 0
            busy = unfinished(connection, [one.last_job for one, _ in due if one.last_job is not None])
            notes, rows, full = [], [], None
            for schedule, moment in due:
                try:
                    note, row = self._due(connection, schedule, moment, schedule.last_job in busy)
                except TooMany as error:
                    full = error
                    break
                notes.append(note)
                rows += [row] if row is not None else []
            if rows:
                jobs.insert_jobs(connection, rows, wait=True)
            repository.note(connection, notes)
        for (schedule, _), note in zip(due, notes, strict=False):
            _tell(schedule, note)
        if full is not None:
            raise full
        return len(due), len(rows)

    def _due(
        self, connection: Connection, schedule: Schedule, moment: datetime, is_busy: bool
    ) -> tuple[Note, JobRow | None]:
        """Return what is to be written down of a schedule that is due, and its job."""
        following = schedule.timing.after(moment)
        if is_busy and schedule.overlap == Overlap.SKIP:
            return Note(schedule.id, following, skipped=True), None
        try:
            row = self._job(connection, self._catalogue.find(schedule.type), schedule)
        except (TooMany, Unavailable):
            raise
        except GristmillError as error:
            # A dispatcher of another version, or without the plugin, is no reason to pause for good.
            unknown = isinstance(error, Invalid) and any(one.code == "unknown_job_type" for one in error.violations)
            again = moment + AGAIN if unknown else None
            return Note(schedule.id, again, error=error.problem()), None
        return Note(schedule.id, following, schedule.next_run_at, row.columns["id"]), row

    def _job(self, connection: Connection, job_type: JobType, schedule: Schedule) -> JobRow:
        what = f"Submitting a job of the type {job_type.name}"
        check_creator(connection, schedule.name, schedule.created_by, schedule.owned_since, job_type.permission, what)
        job = new_job(job_type, schedule.args, schedule.max_attempts, default_attempts=self._catalogue.default_attempts)
        must_be_there(connection, self._datasets.find, job_type, job)
        self._admission.check()
        time = {TIME_LABEL: rfc3339(schedule.next_run_at) or ""}
        request = WriteRequest(
            principal=schedule.created_by,
            request_id=str(uuid7()),
            priority=schedule.priority,
            labels={**schedule.labels, NAME_LABEL: schedule.name, **time},
        )
        row = small_row(job, request, checked=False)
        assert row is not None  # a job of a declared type has no payload
        return row


def _tell(schedule: Schedule, note: Note) -> None:
    if note.error is not None:
        event = "schedule.paused" if note.next_run_at is None else "schedule.waiting"
        log.warning(event, schedule=schedule.name, error=note.error["detail"])
    elif note.skipped:
        log.info("schedule.skipped", schedule=schedule.name, job=str(schedule.last_job))
    else:
        log.info("schedule.run", schedule=schedule.name, job=str(note.job), due=rfc3339(note.run_at))
