"""A job type of your own: daily means of the demo's weather, kept in a table beside the data.

export PYTHONPATH=$PWD/examples GRISTMILL_JOBS_PLUGINS=daily_weather
gristmill down && gristmill up && gristmill demo
gristmill jobs submit weather.daily --args '{"since": "2013-01-01T00:00:00Z"}' --wait
"""

from pydantic import AwareDatetime, BaseModel
from sqlalchemy import text

from gristmill.plugin import JobRun, job_type

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


class Since(BaseModel):
    since: AwareDatetime


@job_type("weather.daily", dataset="demo_weather", exclusive=True)
def daily_weather(run: JobRun, args: Since) -> dict[str, int]:
    """Daily means of the weather

    It sees everything that was submitted for the dataset before it, and whatever comes later waits for it.
    """
    run.connection.execute(text(TABLE))
    return {"days": run.connection.execute(text(FILL), {"since": args.since}).rowcount}
