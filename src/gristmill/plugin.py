"""All that a plugin imports, and the only module that is kept stable for plugins.

A plugin is a module named by the setting ``jobs.plugins`` or by an entry point of the group ``gristmill.jobs``. API,
dispatcher and workers load it when they start. docs/job_types.md has the rules, examples/daily_weather.py is a whole
plugin.

    job_type                makes a function ``(run, args)`` a job type, which clients submit over REST
    JobRun                  what the function is given: its transaction, its arguments' job, ``check``, ``report``
    JobType, submit_job     what ``job_type`` returns, and how any program submits a job of it
    GristmillError          root of the errors to raise. Retried with a growing pause: Unavailable, and any subclass
                            with ``retryable = True``. Failing the job at once: Invalid, Conflict, NotFound
    Signal                  root of what ``run.check()`` raises to end an attempt early: let it through

For jobs that carry records, or have many chunks, a handler is a class. Then the module has a function
``register(registry, gristmill)``, which adds one for each job type; it is called once in each process.

    TransactionalHandler    writes in the chunk's own transaction: rows and the chunk's ``done`` are one commit
    SharingHandler          the same for small chunks of several jobs at once
    IdempotentHandler       acts outside of Postgres; the next attempt adopts or removes what an attempt has left
    ChunkTask, Outcome      what a handler is given, and what it returns
    Registry, Gristmill     what ``register`` is given
    NewJob, NewChunk        a job to submit; ``submit`` and ``connect`` do so from any program
"""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Connection

from gristmill.bootstrap.shared import Gristmill
from gristmill.core.config import load_settings
from gristmill.core.errors import Conflict, GristmillError, Invalid, NotFound, Unavailable
from gristmill.core.logs import get_logger
from gristmill.jobs import submit as jobs
from gristmill.jobs.errors import Signal
from gristmill.jobs.handlers import (
    ChunkTask,
    IdempotentHandler,
    Outcome,
    Pair,
    Registry,
    SharingHandler,
    TransactionalHandler,
)
from gristmill.jobs.job_types.declaration import JobType, job_type
from gristmill.jobs.job_types.new_job import new_job
from gristmill.jobs.job_types.run import JobRun
from gristmill.jobs.submit import NewChunk, NewJob
from gristmill.kit.ids import uuid7

__all__ = [
    "ChunkTask",
    "Conflict",
    "Gristmill",
    "GristmillError",
    "IdempotentHandler",
    "Invalid",
    "JobRun",
    "JobType",
    "NewChunk",
    "NewJob",
    "NotFound",
    "Outcome",
    "Pair",
    "Registry",
    "SharingHandler",
    "Signal",
    "TransactionalHandler",
    "Unavailable",
    "connect",
    "get_logger",
    "job_type",
    "submit",
    "submit_job",
]


def connect(name: str = "plugin", *, database_url: str | None = None) -> Gristmill:
    """Return this installation: ``.database.transaction()`` is a transaction, ``.wake()`` wakes the dispatcher.

    name: shown in pg_stat_activity. database_url: if not given, the setting ``database.url``, which is read from
    environment, ``.env`` and ``config.ini`` as in every process. No connection is opened before one is used; then
    ``Unavailable`` is raised where Postgres cannot be reached.
    """
    flags = {} if database_url is None else {"database_url": database_url}
    return Gristmill(load_settings(**flags), name)


def submit(
    connection: Connection,
    job: NewJob,
    *,
    principal: str = "plugin",
    request_id: str | None = None,
    priority: int = 5,
    labels: Mapping[str, str] | None = None,
) -> uuid.UUID:
    """Submit a job in a transaction of one's own and return its id.

    The job is committed together with whatever else the transaction writes, or not at all. It draws its number here,
    under the lock of its scope, which is held until the commit: do this last. Call ``Gristmill.wake`` after the commit.

    principal: shown by the job as ``submitted_by``. request_id: shown by the job and by each log line about it; a new
    UUID if not given. priority: 0 to 9, 9 is dispatched first. labels: at most 20, for lists of jobs.
    """
    request = jobs.WriteRequest(
        principal=principal, request_id=request_id or str(uuid7()), priority=priority, labels=dict(labels or {})
    )
    return jobs.submit(connection, job, request)


def submit_job(
    connection: Connection,
    job_type: JobType,
    args: BaseModel | Mapping[str, Any] | None = None,
    *,
    principal: str = "plugin",
    request_id: str | None = None,
    priority: int = 5,
    labels: Mapping[str, str] | None = None,
    run_at: datetime | None = None,
    max_attempts: int | None = None,
) -> uuid.UUID:
    """Submit a job of a declared type in a transaction of one's own and return its id; see ``submit``.

    args: the model of the function, or what fits it. run_at: not before this time. max_attempts: other than the type's.
    Raises Invalid that names each argument that does not fit.
    """
    job = new_job(job_type, args, max_attempts, run_at)
    return submit(connection, job, principal=principal, request_id=request_id, priority=priority, labels=labels)
