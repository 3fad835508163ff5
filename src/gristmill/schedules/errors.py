"""Errors of schedules.

GristmillError
├── NotFound ── UnknownSchedule      no schedule has that name
├── Conflict ── ScheduleExists       the name is taken
└── Forbidden ── CreatorRevoked      the key that the schedule runs as is revoked
"""

from gristmill.core.errors import Conflict, Forbidden, NotFound


class UnknownSchedule(NotFound):
    code = "unknown_schedule"
    title = "Unknown schedule"


class ScheduleExists(Conflict):
    code = "schedule_exists"
    title = "The schedule exists"


class CreatorRevoked(Forbidden):
    code = "creator_revoked"
    title = "The key of the schedule is revoked"
