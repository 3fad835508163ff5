"""A job type of your own: daily means of the demo's weather, kept in a table beside the data.

The module is both the plugin that worker and dispatcher load and the program that submits a job:

    export PYTHONPATH=$PWD/examples GRISTMILL_JOBS_PLUGINS=daily_weather
    gristmill down && gristmill up && gristmill demo
    GRISTMILL_DATABASE_URL=<the SQL line that the demo prints> python examples/daily_weather.py
    gristmill jobs show <the id that it prints>
"""

import uuid
from typing import Any

from sqlalchemy import Connection, text

from gristmill.plugin import (
    ChunkTask,
    Gristmill,
    NewChunk,
    NewJob,
    Outcome,
    Registry,
    TransactionalHandler,
    connect,
    submit,
)

TABLE = """
CREATE TABLE IF NOT EXISTS public.daily_weather (
    airport text, day date, temperature float, PRIMARY KEY (airport, day)
)
"""
FILL = """
INSERT INTO public.daily_weather
SELECT airport, at::date, avg(temperature) FROM data.demo_weather WHERE at >= :since GROUP BY 1, 2
ON CONFLICT (airport, day) DO UPDATE SET temperature = EXCLUDED.temperature
"""


class DailyWeather(TransactionalHandler):
    """Its rows and the chunk's ``done`` go into one commit, so it happens once, whatever is killed in between."""

    type = "weather.daily"

    def apply(self, connection: Connection, task: ChunkTask, prepared: Any) -> Outcome:
        connection.execute(text(TABLE))
        days = connection.execute(text(FILL), {"since": task.args["since"]}).rowcount
        return Outcome(succeeded=task.records, result={"days": days})


def register(registry: Registry, gristmill: Gristmill) -> None:
    """Called once in each process; named by the setting ``jobs.plugins``."""
    registry.add(DailyWeather())


def submit_one(gristmill: Gristmill, since: str) -> uuid.UUID:
    """Submit a job and return its id.

    It is exclusive in the scope of the dataset: it sees everything that was submitted for the dataset before it, and
    whatever comes later waits for it.
    """
    job = NewJob(
        type=DailyWeather.type,
        scope="dataset:demo_weather",
        exclusive=True,
        args={"since": since},
        dataset=None,
        chunks=[NewChunk(first_record=0, records=1, payload=None)],
    )
    with gristmill.database.transaction() as connection:
        # Whatever else this transaction writes is committed together with the job, or not at all.
        job_id = submit(connection, job, principal="example")
    gristmill.wake()
    return job_id


if __name__ == "__main__":
    print(submit_one(connect("daily-weather"), since="2013-01-01"))  # noqa: T201 - called by hand
