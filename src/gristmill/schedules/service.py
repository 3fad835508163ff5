"""What clients ask of schedules: create, list, look, change, pause, resume, run now, delete."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from dateutil.relativedelta import relativedelta
from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.errors import Invalid, Violation
from gristmill.core.http.bodies import parse_json
from gristmill.core.http.parameters import MOMENT, moment_of
from gristmill.core.page_tokens import bad_page_token, read_page_token
from gristmill.datasets.contract_checks import read_structure
from gristmill.datasets.lookup import DatasetLookup
from gristmill.jobs.admission import Admission
from gristmill.jobs.endpoints import LABEL, is_label
from gristmill.jobs.job_types.catalogue import Catalogue
from gristmill.jobs.job_types.declaration import JobType
from gristmill.jobs.job_types.new_job import new_job
from gristmill.jobs.job_types.submission import must_be_there
from gristmill.jobs.repository.submit import now
from gristmill.jobs.submit import NewJob, WriteRequest, submit_once
from gristmill.kit.ids import uuid7
from gristmill.kit.json_pointer import pointer_to
from gristmill.kit.pagination import encode_page_token
from gristmill.schedules import repository
from gristmill.schedules.creators import check_creator
from gristmill.schedules.errors import CreatorRevoked, ScheduleExists, UnknownSchedule
from gristmill.schedules.repository import Schedule
from gristmill.schedules.schemas import NAME, NAME_LABEL, TIME_LABEL, NewSchedule, ScheduleChange, schedule_body
from gristmill.schedules.states import ScheduleState
from gristmill.schedules.timing import MOST_YEARS, Timing

Allow = Callable[[JobType], None]
"""Raises Forbidden where the caller may not submit jobs of the type."""
_OF_THE_JOB = ("args", "max_attempts", "labels", "priority", "overlap")


class ScheduleService:
    def __init__(self, database: Database, catalogue: Catalogue, datasets: DatasetLookup, admission: Admission) -> None:
        self._database = database
        self._catalogue = catalogue
        self._datasets = datasets
        self._admission = admission

    def create(self, body: bytes, principal: str, key: str | None, allow: Allow) -> dict[str, Any]:
        """Create a schedule and return it. key: names the request, which creates it once: Idempotency-Key and a digest.

        Raises Malformed, Invalid with the pointer of each mistake, Forbidden, ScheduleExists.
        """
        given = read_structure(NewSchedule, parse_json(body), "")
        if isinstance(given, list):
            raise _invalid(given)
        job_type = self._catalogue.find(given.type)
        allow(job_type)
        with self._database.transaction() as connection:
            moment = now(connection)
            timing = Timing(given.cron, given.every, given.zone, _start(given.start, moment))
            values = {
                **given.model_dump(include={"name", "type", "state", *_OF_THE_JOB}),
                "id": uuid7(),
                "created_by": principal,
                "created_key": key,
            }
            self._check(connection, job_type, values, timing)
            values |= _timed(timing, given.state, moment)
            made = repository.insert(connection, values)
            if made is None:
                made = self._find(connection, given.name)
                if key is None or (made.created_by, made.created_key) != (principal, key):
                    raise ScheduleExists(f"There is a schedule {given.name} already; it submits {made.type}")
            return schedule_body(made, moment)

    def list(self, type_: str | None, state: str | None, page_size: int, page_token: str | None) -> dict[str, Any]:
        """Return a page of schedules in the order of their names. Raises Malformed for a bad token."""
        query, after = f"schedules of {type_} {state}", ""
        if page_token is not None:
            (after,) = read_page_token(page_token, query, str)
            if not NAME.fullmatch(after):
                raise bad_page_token()
        if type_ is not None and "\0" in type_:
            return {"schedules": [], "next_page_token": None}
        with self._database.autocommit() as connection:
            found = repository.list_schedules(connection, after, page_size + 1, type_, state)
            moment = now(connection)
        page = found[:page_size]
        token = encode_page_token([page[-1].name], query) if len(found) > page_size else None
        return {"schedules": [schedule_body(one, moment) for one in page], "next_page_token": token}

    def get(self, name: str) -> dict[str, Any]:
        """Return a schedule. Raises UnknownSchedule."""
        with self._database.autocommit() as connection:
            return schedule_body(self._find(connection, name), now(connection))

    def change(self, name: str, body: bytes, principal: str, allow: Allow) -> dict[str, Any]:
        """Change, pause or resume a schedule and return it. What is due by what was before is not submitted any more.

        Whoever resumes one whose creator's key is revoked becomes its creator.
        Raises UnknownSchedule, Malformed, Invalid, Forbidden, CreatorRevoked.
        """
        given = read_structure(ScheduleChange, parse_json(body), "")
        if isinstance(given, list):
            raise _invalid(given)
        with self._database.transaction() as connection:
            found = self._find(connection, name, lock=True)
            job_type = self._catalogue.find(found.type)
            allow(job_type)
            moment = now(connection)
            if given.state != "paused" or given.model_fields_set - {"state"}:
                found = self._owned(connection, found, job_type, principal, given.state)
            changed = {member: getattr(given, member) for member in _OF_THE_JOB if getattr(given, member) is not None}
            values = {member: changed.get(member, getattr(found, member)) for member in _OF_THE_JOB}
            timing = _changed_timing(found.timing, given, moment)
            self._check(
                connection, job_type, {**values, "name": found.name}, timing, stored=not (changed or given.state)
            )
            state = given.state or found.state
            if state == found.state and timing == found.timing:
                timed = {**_timed(timing, state, moment), "next_run_at": found.next_run_at}
            else:
                timed = _timed(timing, state, moment)
            made = repository.change(connection, found, {**values, **timed, "created_by": found.created_by})
            return schedule_body(made, moment)

    def run_now(self, name: str, request: WriteRequest, allow: Allow) -> uuid.UUID:
        """Submit a job of the schedule at once, as the caller's, and return its id; the next run stays when it is.

        Raises UnknownSchedule, Forbidden, Invalid, TooMany, IdempotencyKeyReused.
        """
        self._admission.check()

        def work(connection: Connection) -> NewJob:
            found = self._find(connection, name)
            job_type = self._catalogue.find(found.type)
            allow(job_type)
            return self._job(connection, job_type, found.args, found.max_attempts)

        with self._database.autocommit() as connection:
            found = self._find(connection, name)
        labels = {**found.labels, NAME_LABEL: found.name}
        return submit_once(self._database, replace(request, labels=labels, priority=found.priority), work)

    def delete(self, name: str, allow: Allow) -> None:
        """Delete a schedule: no further job is submitted. Those that were stay. Raises UnknownSchedule, Forbidden."""
        with self._database.transaction() as connection:
            found = self._find(connection, name, lock=True)
            # One whose job type is gone can be deleted all the same.
            if found.type in self._catalogue:
                allow(self._catalogue.find(found.type))
            repository.delete(connection, found.id)

    def _find(self, connection: Connection, name: str, *, lock: bool = False) -> Schedule:
        found = repository.find(connection, name, lock=lock) if NAME.fullmatch(name) else None
        if found is None:
            raise UnknownSchedule(f"There is no schedule {name[:80]!r}")
        return found

    def _owned(
        self, connection: Connection, found: Schedule, job_type: JobType, principal: str, state: str | None
    ) -> Schedule:
        """Return the schedule as its creator's, or, if that one's key is revoked, as that of whoever resumes it."""
        what = f"Submitting a job of the type {job_type.name}"
        try:
            check_creator(connection, found.name, found.created_by, found.owned_since, job_type.permission, what)
        except CreatorRevoked:
            if state != ScheduleState.RUNNING:
                raise
            return replace(found, created_by=principal)
        return found

    def _job(
        self, connection: Connection, job_type: JobType, args: Mapping[str, Any], max_attempts: int | None
    ) -> NewJob:
        made = new_job(job_type, args, max_attempts, default_attempts=self._catalogue.default_attempts)
        must_be_there(connection, self._datasets.find, job_type, made)
        return made

    def _check(
        self,
        connection: Connection,
        job_type: JobType,
        values: Mapping[str, Any],
        timing: Timing,
        *,
        stored: bool = False,
    ) -> None:
        """Refuse times, labels and arguments that cannot be. stored: of the job nothing is new. Raises Invalid."""
        violations = [*timing.violations(), *_label_violations(values["labels"])]
        if violations:
            raise _invalid(violations)
        if not stored:
            self._job(connection, job_type, values["args"], values["max_attempts"])


def _timed(timing: Timing, state: str, moment: datetime) -> dict[str, Any]:
    """Return the columns of times. A start that is still to come is the first time that may be chosen."""
    # One microsecond before: the start itself may be the first run.
    since = max(moment, timing.start - timing.start.resolution)
    return {
        "cron": timing.cron,
        "every": timing.every,
        "zone": timing.zone,
        "start": timing.start,
        "state": state,
        "next_run_at": timing.after(since) if state == ScheduleState.RUNNING else None,
    }


def _changed_timing(timing: Timing, given: ScheduleChange, moment: datetime) -> Timing:
    cron, every = timing.cron, timing.every
    if given.cron is not None or given.every is not None:
        cron, every = given.cron, given.every
    start = timing.start if given.start is None else _start(given.start, moment)
    return Timing(cron, every, given.zone or timing.zone, start)


def _start(text: str | None, moment: datetime) -> datetime:
    """Return the start in UTC. Raises Invalid."""
    if text is None:
        return moment
    found = moment_of(text)
    reason = "" if found is not None else f"start={text!r:.80} is not valid: give {MOMENT}"
    if found is not None and abs(found - moment) > (moment + relativedelta(years=MOST_YEARS)) - moment:
        reason = f"start={text!r:.80} is more than {MOST_YEARS} years away"
    if reason or found is None:
        raise _invalid([Violation("/start", "bad_time", reason, field="start")])
    return found.astimezone(UTC)


def _label_violations(labels: Mapping[str, str]) -> list[Violation]:
    found = []
    for name, value in labels.items():
        reason = ""
        if name in (NAME_LABEL, TIME_LABEL):
            reason = f"the label {name} is one that Gristmill gives the jobs of a schedule: choose another one"
        elif not is_label(name, value):
            reason = f"the label {name!r:.80}={value!r:.80} is not valid: give {LABEL}"
        if reason:
            found.append(Violation(pointer_to(["labels", name]), "bad_label", reason, field=name[:80]))
    return found


def _invalid(violations: list[Violation]) -> Invalid:
    return Invalid(f"The schedule is not valid: {violations[0].pointer or '/'}: {violations[0].reason}", violations)
